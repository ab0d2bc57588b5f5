-- What was revoked, and counters by which every node learns of it, and of changed signing keys, with its next request.

CREATE TABLE revocation (
  -- `token`, `subject`, `actor`, `client`, `resource`, `issuer`, `key`, `all`
  kind         text COLLATE "C" NOT NULL,
  -- Identity of a token, digest of a principal, id, URI or kid; a person is never named.
  value        text COLLATE "C" NOT NULL,
  -- NumericDate, inclusive: what was issued up to then is dead. NULL: whenever it was issued.
  issued_until bigint,
  -- When nothing that it kills can be alive any more.
  expires_at   timestamptz NOT NULL,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- The audit record that says who did it.
  record_id    uuid NOT NULL,
  PRIMARY KEY (kind, value)
);
CREATE INDEX revocation_expiry ON revocation (expires_at);

ALTER TABLE state
  ADD COLUMN revocations bigint NOT NULL DEFAULT 0,
  ADD COLUMN keys bigint NOT NULL DEFAULT 0,
  -- Until then there may be something in `revocation` that is in force.
  ADD COLUMN revoked_until timestamptz;

-- For the revocation document: what was switched off lately.
CREATE INDEX object_change_recent ON object_change (at) WHERE action IN ('disable', 'remove');

GRANT SELECT, INSERT, UPDATE, DELETE ON revocation TO cambist_runtime;
