-- Rotation of signing keys, and a change of the key-encryption key.

ALTER TABLE signing_key
  -- Gone as soon as the key may not sign any more.
  ALTER COLUMN sealed_private DROP NOT NULL,
  DROP CONSTRAINT signing_key_state_check,
  ADD CONSTRAINT signing_key_state_check CHECK (state IN ('next', 'active', 'retired', 'tainted')),
  -- A time at which its row was known to be committed, and so in reach of every node.
  ADD COLUMN published_at timestamptz,
  -- For how long it has to be published before it signs, where a command asked for that; NULL: the schedule decides.
  ADD COLUMN ahead_seconds integer CHECK (ahead_seconds >= 0);
UPDATE signing_key SET published_at = created_at;
ALTER TABLE signing_key
  ADD CONSTRAINT signing_key_private CHECK ((sealed_private IS NOT NULL) = (state IN ('next', 'active'))),
  ADD CONSTRAINT signing_key_ending CHECK ((retire_at IS NOT NULL) = (state IN ('retired', 'tainted')));

GRANT UPDATE (state, sealed_private, activated_at, retire_at, published_at, ahead_seconds), DELETE
  ON signing_key TO cambist_runtime;
-- Sealed anew under another key-encryption key; nothing else of these rows.
GRANT UPDATE (sealed_check, sealed_blind_key) ON instance TO cambist_runtime;
GRANT UPDATE (sealed_key) ON person_key TO cambist_runtime;
