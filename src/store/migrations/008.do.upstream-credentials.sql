-- Upstream credentials: the embedded secret store, and the leases that are, or may be, alive at Vault.

-- The latest version of a secret, sealed; an earlier one is gone when it is replaced.
CREATE TABLE secret (
  path       text COLLATE "C" PRIMARY KEY,
  version    bigint NOT NULL CHECK (version > 0),
  -- Fields and tags, sealed under the key-encryption key, bound to path, version and names of the fields.
  sealed     bytea NOT NULL,
  -- Names of the fields, sorted; values never stand in clear.
  fields     text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Committed before Vault is asked: a node that dies in between leaves a row by which the lease is found and ended.
CREATE TABLE lease (
  id         uuid PRIMARY KEY,
  upstream   text NOT NULL,
  -- Identity of the token that it was made for, and of all that this one descends from.
  token_identity  text COLLATE "C" NOT NULL,
  token_ancestors text[] COLLATE "C" NOT NULL,
  client_id  text NOT NULL,
  -- Accessor of the Vault token that holds the lease; NULL: not asked for yet, so there is nothing to end.
  accessor   text,
  state      text NOT NULL CHECK (state IN ('intended', 'held', 'ending')),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  -- Of the sweeper: when to try again, and how often it did.
  retry_at   timestamptz,
  attempts   integer NOT NULL DEFAULT 0
);
CREATE INDEX lease_expiry ON lease (expires_at);
CREATE INDEX lease_token ON lease (token_identity);

GRANT SELECT, INSERT, UPDATE, DELETE ON secret TO cambist_runtime;
GRANT SELECT, INSERT, UPDATE, DELETE ON lease TO cambist_runtime;
