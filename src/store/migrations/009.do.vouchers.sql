-- What vouched for somebody in a token without being named in it: `iss` of the trusted issuers whose tokens authenticated a
-- client, or stood for one, on the way to it.
ALTER TABLE issued_token ADD COLUMN vouched_by text[] COLLATE "C" NOT NULL DEFAULT '{}';
