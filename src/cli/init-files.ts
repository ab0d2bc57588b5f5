/**
 * The texts that `cambist init` writes. What is not commented out is what the defaults say, or needed.
 */

/** `cambist.yaml`, with the path of the key. */
export function startingSettings(keyPath: string): string {
  return `# Settings of one Cambist process. Checked with: cambist check
# Every setting, its variable and its default: docs/configuration.md. Paths are relative to this file.

# Our own issuer URL, the iss of our tokens. Everybody who verifies them compares it character by character.
# The default is the address below; behind a proxy it is the https URL that clients reach.
# issuer: https://sts.example.com

listen:
  # 127.0.0.1 reaches this machine only. Other addresses need TLS, or plain_http: behind_tls_proxy.
  host: 127.0.0.1
  port: 8080

# The embedded database, for a first look and small set-ups. Its folder:
data_dir: .cambist

# PostgreSQL 15 or newer instead, for several nodes; then run: cambist migrate up
# database:
#   url: file:database-url            # a file that holds postgres://user:password@host:5432/database

# The key under which signing keys and personal fields lie encrypted: 32 bytes, the same on every node. Never in here.
key_encryption_key: file:${keyPath}

# A Transit key of Vault instead, which never leaves it; see docs/vault.md for vault.login:
# key_encryption: { transit: { key: cambist } }
# vault: { address: https://vault.example.com:8200, login: { method: kubernetes, role: cambist } }

log_level: info
`;
}

/** `objects.yaml`. */
export const STARTING_OBJECTS = `# What Cambist knows. Entered with: cambist apply -f objects.yaml
# A file can be applied any number of times; only what differs is changed. Fields: cambist schema objects

clients:
  # An agent. Its secret is made with: cambist client secret agent --out agent.secret
  - id: agent
    name: My agent
    auth: [client_secret_basic]
  # The MCP server of the resource below: it authenticates too, to ask about tokens and to act for its callers.
  - id: notes-server
    name: The notes MCP server
    auth: [client_secret_basic]

resources:
  - name: notes
    uri: https://notes.example.com/mcp
    description: The notes MCP server
    scopes:
      notes:read: Read notes
      notes:write: Write notes
    default_scopes: [notes:read]
    served_by: [notes-server]

policies:
  # May the agent have a token for itself (client credentials)? Writing is permitted to nobody.
  - id: agent-reads-notes
    cedar: |
      permit (principal == Client::"agent", action == Action::"access", resource == Scope::"notes#notes:read");

# People come with the identity provider that they sign in at. Then an agent exchanges their ID token, and two questions
# are asked: may this person have it (access), may this agent use it for them (act)? See docs/policy.md.
#
# issuers:
#   - name: corp
#     issuer: https://login.example.com
#     audiences:
#       - { value: client-id-at-the-provider, clients: [agent] }
#     claims: { groups: groups }
# roles:
#   - name: staff
#     groups: ['corp:staff']
# policies:                           # (add these to the list above)
#   - id: staff-read-notes
#     cedar: |
#       permit (principal in Role::"staff", action == Action::"access", resource == Scope::"notes#notes:read");
#   - id: agent-acts
#     cedar: |
#       permit (principal == Client::"agent", action == Action::"act", resource == Scope::"notes#notes:read");
`;
