-- How much of each limit is used up, per key and window, over all nodes. Worth nothing after its window, and after a
-- crash of the server the window begins anew: so it is not logged, and a round costs no flush.

CREATE UNLOGGED TABLE rate_window (
  -- HMAC over what is limited: no client, resource or person can be read off it.
  hash    bytea NOT NULL CHECK (length(hash) = 32),
  ends_at timestamptz NOT NULL,
  quota   integer NOT NULL CHECK (quota > 0),
  used    integer NOT NULL CHECK (used >= 0),
  -- What the last statement was given: how an upsert of PostgreSQL 15 tells that.
  granted integer NOT NULL CHECK (granted >= 0),
  PRIMARY KEY (hash, ends_at)
) WITH (fillfactor = 50);
CREATE INDEX rate_window_expiry ON rate_window (ends_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON rate_window TO cambist_runtime;
