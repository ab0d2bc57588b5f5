-- Keys at rest, each sealed under the key-encryption key and bound to its row.

-- One key per person: deleting the row makes that person's fields in every record unreadable, and breaks no proof.
CREATE TABLE person_key (
  ref         uuid PRIMARY KEY,
  blind_index bytea NOT NULL UNIQUE CHECK (length(blind_index) = 32),
  sealed_key  bytea NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE signing_key (
  kid            text COLLATE "C" PRIMARY KEY,
  purpose        text NOT NULL,
  alg            text NOT NULL,
  state          text NOT NULL CHECK (state IN ('next', 'active', 'retired')),
  public_jwk     jsonb NOT NULL,
  sealed_private bytea NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT now(),
  activated_at   timestamptz,
  -- When it stops being published.
  retire_at      timestamptz
);
CREATE UNIQUE INDEX signing_key_one_active ON signing_key (purpose, alg) WHERE state = 'active';
CREATE UNIQUE INDEX signing_key_one_next ON signing_key (purpose, alg) WHERE state = 'next';

GRANT SELECT, INSERT, DELETE ON person_key TO cambist_runtime;
GRANT SELECT, INSERT ON signing_key TO cambist_runtime;
