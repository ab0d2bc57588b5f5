-- What is registered here, and the one counter that says whether anything changed.

CREATE TABLE instance (
  one              boolean PRIMARY KEY DEFAULT true CHECK (one),
  id               uuid NOT NULL,
  epoch            integer NOT NULL CHECK (epoch >= 1),
  sealed_check     bytea NOT NULL,
  sealed_blind_key bytea NOT NULL,
  created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE state (
  one     boolean PRIMARY KEY DEFAULT true CHECK (one),
  version bigint NOT NULL CHECK (version >= 0)
);
INSERT INTO state (version) VALUES (0);

-- Names and keys are found by their SHA-256: they may be longer than an index entry can be.
CREATE TABLE object (
  kind      text COLLATE "C" NOT NULL,
  name_hash bytea NOT NULL CHECK (length(name_hash) = 32),
  name      text COLLATE "C" NOT NULL,
  spec      jsonb NOT NULL,
  disabled  boolean NOT NULL DEFAULT false,
  origin    text NOT NULL,
  version   bigint NOT NULL,
  PRIMARY KEY (kind, name_hash)
);
CREATE INDEX object_by_name ON object (kind, (left(name, 256)), name_hash);
CREATE INDEX object_by_origin ON object (origin);

CREATE TABLE object_key (
  namespace text COLLATE "C" NOT NULL,
  key_hash  bytea NOT NULL CHECK (length(key_hash) = 32),
  key       text NOT NULL,
  kind      text COLLATE "C" NOT NULL,
  name_hash bytea NOT NULL,
  PRIMARY KEY (namespace, key_hash),
  FOREIGN KEY (kind, name_hash) REFERENCES object (kind, name_hash) ON DELETE CASCADE
);
CREATE INDEX object_key_of_object ON object_key (kind, name_hash);

-- The whole history: what the caches of every node follow, and what past decisions are explained with.
CREATE TABLE object_change (
  version   bigint NOT NULL,
  kind      text COLLATE "C" NOT NULL,
  name_hash bytea NOT NULL,
  name      text COLLATE "C" NOT NULL,
  -- As it was after the change; NULL when it was removed.
  spec      jsonb,
  disabled  boolean NOT NULL,
  removed   boolean NOT NULL,
  -- `put`, `remove`, `disable`, `enable`, `secret`
  action    text NOT NULL,
  -- Keys that it gained or lost: what a cache must forget besides its name.
  keys      text[] NOT NULL DEFAULT '{}',
  at        timestamptz NOT NULL DEFAULT now(),
  author    text NOT NULL,
  PRIMARY KEY (version, kind, name_hash)
);
CREATE INDEX object_change_of_object ON object_change (kind, name_hash, version);

CREATE TABLE client_secret (
  id          uuid PRIMARY KEY,
  kind        text COLLATE "C" NOT NULL DEFAULT 'client' CHECK (kind = 'client'),
  client_hash bytea NOT NULL,
  client      text NOT NULL,
  -- SHA-256 of a secret of 256 random bits.
  hash        bytea NOT NULL CHECK (length(hash) = 32),
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  retired_at  timestamptz,
  -- A client that is removed and made again does not get its old secrets back.
  FOREIGN KEY (kind, client_hash) REFERENCES object (kind, name_hash) ON DELETE CASCADE
);
CREATE INDEX client_secret_valid ON client_secret (client_hash) WHERE retired_at IS NULL;

GRANT SELECT, INSERT ON instance TO cambist_runtime;
GRANT SELECT, UPDATE ON state TO cambist_runtime;
GRANT SELECT, INSERT, UPDATE, DELETE ON object TO cambist_runtime;
GRANT SELECT, INSERT, DELETE ON object_key TO cambist_runtime;
GRANT SELECT, INSERT ON object_change TO cambist_runtime;
GRANT SELECT, INSERT, UPDATE (retired_at) ON client_secret TO cambist_runtime;
