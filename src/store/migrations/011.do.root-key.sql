-- Where the key-encryption key is at a key manager that does not give it out (Vault Transit): the key that seals in its
-- place, wrapped by it.

CREATE TABLE root_key (
  -- Id of the key itself, as it stands in what it seals: a wrapped key in another's row is found out.
  id         text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[0-9a-f]{16}$'),
  -- The key of the key manager: of several nodes that start at once, one makes the root key and all use it.
  mount      text COLLATE "C" NOT NULL,
  key        text COLLATE "C" NOT NULL,
  wrapped    text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (mount, key)
);

-- Never deleted: as long as there is a backup, something may be sealed under it.
GRANT SELECT, INSERT, UPDATE (wrapped) ON root_key TO cambist_runtime;
