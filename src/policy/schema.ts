/**
 * The published vocabulary of policies: entity types, actions and the closed context, as a Cedar schema.
 *
 * Every policy is validated against it in strict mode and every question is validated against it again, so a policy
 * can read nothing that is not listed here. There is no clock and no request id on purpose: a decision over the same
 * facts is the same decision, today and when it is replayed. docs/policy.md prints this text; a test holds them equal.
 */

/** The schema in Cedar's human-readable syntax. */
export const CEDAR_SCHEMA = `// A role, from configuration. Groups bring roles; parties can also have them directly.
entity Role;

// A group: "<issuer short name>:<group>" for groups of trusted issuers, the plain name for groups of clients.
entity Group in [Role];

// A subject of a trusted issuer: "<issuer short name>:<sub>". issuer is the exact iss of its tokens.
entity User in [Group, Role] = {
  issuer: String,
  sub: String,
  email?: String,
};

// A registered client: its client_id. Client ids have no colon, so no user can be mistaken for a client.
entity Client in [Group, Role] = {
  name?: String,
};

// The subject as the context shows it: the same id as the User or Client that it is, and in all that that one is in.
entity Subject in [User, Client] = {
  issuer: String,
  sub: String,
  isClient: Bool,
  email?: String,
};

// A protected resource, by its canonical URI; or an upstream, by its egress URI: <issuer>/egress/<name>.
entity Resource;

// One scope of one resource or upstream: "<its name>#<scope>".
entity Scope in [Resource] = {
  name: String,      // the scope, "notes:read"
  resource: String,  // the name of the resource or upstream, "notes"
};

// The grant that is being used.
entity Grant enum ["client_credentials", "token_exchange"];

type Context = {
  subject: Subject,  // whom the token will be about
  client: Client,    // the authenticated client
  grant: Grant,
  delegated: Bool,   // somebody acts for the subject (false: the subject asks for itself)
  depth: Long,       // actors in the chain of the token to be issued, the current one included
  via?: Resource,    // on a hop: the resource that the presented token was for
};

// May this subject have this scope?
action access appliesTo {
  principal: [User, Client],
  resource: [Scope],
  context: Context,
};

// May this actor use this scope for the subject?
action act appliesTo {
  principal: [User, Client],
  resource: [Scope],
  context: Context,
};

// May this client present an actor token of that other party?
action actAs appliesTo {
  principal: [Client],
  resource: [User, Client],
  context: Context,
};

// May this client have a token that is about the subject and does not name an actor?
action impersonate appliesTo {
  principal: [Client],
  resource: [Scope],
  context: Context,
};
`;

/** The four questions, by the name of their action. */
export type Action = 'access' | 'act' | 'actAs' | 'impersonate';

/** The ids of `Grant`: grants as configuration writes them. */
export const GRANT_IDS = ['client_credentials', 'token_exchange'] as const;
export type GrantId = (typeof GRANT_IDS)[number];
