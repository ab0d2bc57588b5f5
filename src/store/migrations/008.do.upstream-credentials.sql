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
  -- Who uses it, and what a revocation can hit of the token that it was made for, as pairs (tokens/revocation.ts).
  client_id  text NOT NULL,
  fact_kinds  text[] COLLATE "C" NOT NULL,
  fact_values text[] COLLATE "C" NOT NULL,
  -- NumericDate: the earliest that the token can have been issued at.
  token_issued_at bigint NOT NULL,
  -- SHA-256 of the name that the subject would be registered under; NULL for a client.
  subject_hash bytea,
  -- Accessor of the Vault token that holds the lease; NULL: not asked for yet, so there is nothing to end.
  accessor   text,
  state      text NOT NULL CHECK (state IN ('intended', 'held', 'ending')),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  ending_at  timestamptz,
  -- Of the sweeper: when to try again, and how often it did.
  retry_at   timestamptz,
  attempts   integer NOT NULL DEFAULT 0
);

GRANT SELECT, INSERT, UPDATE, DELETE ON secret TO cambist_runtime;
GRANT SELECT, INSERT, UPDATE, DELETE ON lease TO cambist_runtime;
