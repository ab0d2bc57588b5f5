/**
 * How a record names the path of a secret that may tell who a person is: sealed like a person, under a key of that path
 * alone, as the `sub` of this `iss`. Whoever deletes that key makes every record of it nameless.
 */
export const SECRET_PATH_ISSUER = 'urn:cambist:secret-path';
