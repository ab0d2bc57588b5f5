-- What is committed with every answer: replay marks, the issued token's row, the audit record.

CREATE TABLE replay_mark (
  -- SHA-256 over purpose, issuer and id: each of them may be long.
  hash       bytea PRIMARY KEY CHECK (length(hash) = 32),
  purpose    text NOT NULL,
  issuer     text NOT NULL,
  mark_id    text NOT NULL,
  expires_at timestamptz NOT NULL
);
CREATE INDEX replay_mark_expiry ON replay_mark (expires_at);

CREATE TABLE issued_token (
  jti         text COLLATE "C" PRIMARY KEY,
  ancestors   text[] COLLATE "C" NOT NULL,
  subject_ref text NOT NULL,
  client_id   text NOT NULL,
  actors      text[] NOT NULL,
  resources   text[] NOT NULL,
  kid         text NOT NULL,
  issued_at   timestamptz NOT NULL,
  expires_at  timestamptz NOT NULL,
  -- What a later exchange has to know of its person, sealed under that person's key.
  subject_claims text
);
CREATE INDEX issued_token_ancestors ON issued_token USING gin (ancestors);
CREATE INDEX issued_token_expiry ON issued_token (expires_at);

CREATE TABLE audit_record (
  id          uuid NOT NULL,
  recorded_at timestamptz(3) NOT NULL,
  kind        text NOT NULL,
  reason      text,
  request_id  text NOT NULL,
  client_id   text,
  resources   text[] NOT NULL,
  jti         text,
  persons     uuid[] NOT NULL,
  -- Canonical JSON (RFC 8785) as it was hashed and answered for; never rewritten.
  canonical   bytea NOT NULL,
  -- Place in the Merkle tree; only the sequencer's role may fill it.
  leaf_index  bigint,
  epoch       integer NOT NULL,
  PRIMARY KEY (recorded_at, id)
) PARTITION BY RANGE (recorded_at);
CREATE INDEX audit_record_request ON audit_record (request_id);
CREATE INDEX audit_record_jti ON audit_record (jti) WHERE jti IS NOT NULL;
CREATE INDEX audit_record_client ON audit_record (client_id, recorded_at) WHERE client_id IS NOT NULL;
CREATE INDEX audit_record_persons ON audit_record USING gin (persons);

-- Takes what no month was made for: a clock that is far off must not stop the service.
CREATE TABLE audit_record_default PARTITION OF audit_record DEFAULT;
CREATE UNIQUE INDEX audit_record_default_leaf ON audit_record_default (leaf_index) WHERE leaf_index IS NOT NULL;

-- Makes the monthly partitions (UTC) from this month to `months_ahead` after it. It runs as the owner of the schema,
-- because the runtime's role owns nothing; its search_path is fixed, because its caller's is not to be trusted.
CREATE FUNCTION ensure_audit_partitions(months_ahead integer) RETURNS integer
  LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $function$
DECLARE
  first_month timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
  month_start timestamp;
  part        text;
  made        integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('cambist audit partitions'), hashtext(current_schema()));
  FOR ahead IN 0 .. least(greatest(months_ahead, 0), 24) LOOP
    month_start := first_month + make_interval(months => ahead);
    part := 'audit_record_' || to_char(month_start, 'YYYY_MM');
    CONTINUE WHEN to_regclass(part) IS NOT NULL;
    BEGIN
      -- Attached, not made in place: that takes no lock which inserts into other months would wait for.
      EXECUTE format('CREATE TABLE %I (LIKE audit_record INCLUDING ALL)', part);
      EXECUTE format('CREATE UNIQUE INDEX %I ON %I (leaf_index) WHERE leaf_index IS NOT NULL', part || '_leaf', part);
      EXECUTE format('ALTER TABLE audit_record ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part,
        month_start AT TIME ZONE 'UTC', (month_start + interval '1 month') AT TIME ZONE 'UTC');
      made := made + 1;
    EXCEPTION WHEN check_violation THEN
      -- The default partition has rows of that month already: they stay there, and so do those to come.
      NULL;
    END;
  END LOOP;
  RETURN made;
END
$function$;

GRANT SELECT, INSERT ON replay_mark TO cambist_runtime;
GRANT SELECT, INSERT ON issued_token TO cambist_runtime;
-- Column by column, so that the runtime cannot give a record its place in the tree.
GRANT SELECT, INSERT (id, recorded_at, kind, reason, request_id, client_id, resources, jti, persons, canonical, epoch)
  ON audit_record TO cambist_runtime;
REVOKE EXECUTE ON FUNCTION ensure_audit_partitions(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_audit_partitions(integer) TO cambist_runtime;
GRANT SELECT, UPDATE (leaf_index) ON audit_record TO cambist_sequencer;
