# What a token may do that holds one lease: ask for it. One line per engine that upstreams name; no line reaches further
# than roles that were made for Cambist.
path "database/creds/cambist-*" { capabilities = ["read"] }
