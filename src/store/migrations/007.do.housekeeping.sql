-- Removal of what nobody can need any more. The runtime's role cannot delete marks, tokens or records: it can call these
-- functions, which decide by the database's clock what has expired, and take a bounded number of rows at a time. Rows
-- that somebody else holds are left for the next time. Each returns how many rows it removed.

-- A mark is kept for five minutes more than `exp` plus skew: a node whose clock is behind may still accept the token.
CREATE FUNCTION remove_expired_marks(rows_max integer) RETURNS integer
  LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $function$
  WITH removed AS (
    DELETE FROM replay_mark WHERE hash = ANY (ARRAY(
      SELECT hash FROM replay_mark WHERE expires_at < now() - interval '5 minutes'
      ORDER BY expires_at LIMIT least(greatest(rows_max, 0), 10000) FOR UPDATE SKIP LOCKED
    )) RETURNING 1
  ) SELECT count(*)::integer FROM removed
$function$;

-- An hour: introspection and revocation of a token that has just expired still find who it was for.
CREATE FUNCTION remove_expired_tokens(rows_max integer) RETURNS integer
  LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT AS $function$
  WITH removed AS (
    DELETE FROM issued_token WHERE jti = ANY (ARRAY(
      SELECT jti FROM issued_token WHERE expires_at < now() - interval '1 hour'
      ORDER BY expires_at LIMIT least(greatest(rows_max, 0), 10000) FOR UPDATE SKIP LOCKED
    )) RETURNING 1
  ) SELECT count(*)::integer FROM removed
$function$;

-- Makes the partition of one month, or leaves it as it is. For the owner alone.
CREATE FUNCTION make_audit_partition(month_start timestamp) RETURNS boolean
  LANGUAGE plpgsql SET search_path FROM CURRENT AS $function$
DECLARE
  part text := 'audit_record_' || to_char(date_trunc('month', month_start), 'YYYY_MM');
BEGIN
  IF to_regclass(part) IS NOT NULL THEN RETURN false; END IF;
  EXECUTE format('CREATE TABLE %I (LIKE audit_record INCLUDING ALL)', part);
  EXECUTE format('CREATE UNIQUE INDEX %I ON %I (leaf_index) WHERE leaf_index IS NOT NULL', part || '_leaf', part);
  EXECUTE format('ALTER TABLE audit_record ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', part,
    date_trunc('month', month_start) AT TIME ZONE 'UTC',
    (date_trunc('month', month_start) + interval '1 month') AT TIME ZONE 'UTC');
  RETURN true;
END
$function$;

-- Drops the oldest month of records, if the whole of it is older than `retention_days`, and returns its name; NULL where
-- there is none. Never the default partition, never less than 30 days, never a partition that has a younger record,
-- whatever its name says. It needs a lock that stops every insert: it waits for it a tenth of a second and gives up
-- (55P03), so that nobody waits longer than that for it.
CREATE FUNCTION drop_audit_partition(retention_days integer) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET lock_timeout = '100ms' AS $function$
DECLARE
  cutoff timestamptz;
  part   text;
  young  boolean;
BEGIN
  IF retention_days IS NULL OR retention_days < 30 THEN
    RAISE EXCEPTION 'audit records are kept for 30 days at least' USING ERRCODE = '22023';
  END IF;
  cutoff := now() - make_interval(days => retention_days);
  IF NOT pg_try_advisory_xact_lock(hashtext('cambist audit partitions'), hashtext(current_schema())) THEN
    RETURN NULL;
  END IF;
  FOR part IN
    SELECT child.relname FROM pg_catalog.pg_inherits JOIN pg_catalog.pg_class child ON child.oid = inhrelid
    WHERE inhparent = 'audit_record'::regclass AND child.relname ~ '^audit_record_\d{4}_\d{2}$'
    ORDER BY child.relname
  LOOP
    -- Sorted by month: where one is too young, those that follow are.
    EXIT WHEN (to_date(right(part, 7), 'YYYY_MM') + interval '1 month') AT TIME ZONE 'UTC' > cutoff;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE recorded_at >= $1)', part) INTO young USING cutoff;
    CONTINUE WHEN young;
    EXECUTE format('DROP TABLE %I', part);
    RETURN part;
  END LOOP;
  RETURN NULL;
END
$function$;

REVOKE EXECUTE ON FUNCTION remove_expired_marks(integer) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION remove_expired_tokens(integer) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION make_audit_partition(timestamp) FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION drop_audit_partition(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION remove_expired_marks(integer) TO cambist_runtime;
GRANT EXECUTE ON FUNCTION remove_expired_tokens(integer) TO cambist_runtime;
GRANT EXECUTE ON FUNCTION drop_audit_partition(integer) TO cambist_runtime;
