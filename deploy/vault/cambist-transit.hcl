# What Cambist may do with the Transit key that is its key-encryption key (key_encryption.transit), beside the policy
# cambist: use it and see its versions. It can neither make, change, export nor delete a key. docs/vault.md.
path "transit/encrypt/cambist" { capabilities = ["update"] }
path "transit/decrypt/cambist" { capabilities = ["update"] }
path "transit/keys/cambist"    { capabilities = ["read"] }
