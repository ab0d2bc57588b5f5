/**
 * Every requirement and every scenario. A test holds the two together: none without the other.
 */
import type { Scenario } from '../scenarios/scenario.ts';
import { coreClientScenarios } from '../scenarios/core-clients.ts';
import { coreScenarios } from '../scenarios/core.ts';
import { coreTargetScenarios } from '../scenarios/core-targets.ts';
import { delegationScenarios } from '../scenarios/delegation.ts';
import { externalSubjectScenarios } from '../scenarios/external-subjects.ts';
import { introspectionScenarios } from '../scenarios/introspection.ts';
import { jwtAccessTokenScenarios } from '../scenarios/jwt-access-token.ts';
import { jwtClientAuthScenarios } from '../scenarios/jwt-client-auth.ts';
import { mcpAuthorizationServerScenarios } from '../scenarios/mcp-authorization-server.ts';
import { mcpProtectedResourceScenarios } from '../scenarios/mcp-protected-resource.ts';
import { metadataScenarios } from '../scenarios/metadata.ts';
import { revocationScenarios } from '../scenarios/revocation.ts';
import { securityScenarios } from '../scenarios/security.ts';
import { field } from './field.ts';
import { mcp } from './mcp.ts';
import type { Requirement } from './requirement.ts';
import { rfc6749 } from './rfc6749.ts';
import { rfc7009 } from './rfc7009.ts';
import { rfc7519 } from './rfc7519.ts';
import { rfc7523 } from './rfc7523.ts';
import { rfc7523bis } from './rfc7523bis.ts';
import { rfc7662 } from './rfc7662.ts';
import { rfc8414 } from './rfc8414.ts';
import { rfc8693 } from './rfc8693.ts';
import { rfc8707 } from './rfc8707.ts';
import { rfc8725 } from './rfc8725.ts';
import { rfc9068 } from './rfc9068.ts';
import { rfc9700 } from './rfc9700.ts';
import { rfc9728 } from './rfc9728.ts';

export const REQUIREMENTS: readonly Requirement[] = [
  rfc8693,
  rfc8707,
  rfc9068,
  rfc8414,
  rfc7662,
  rfc7009,
  rfc6749,
  rfc7523,
  rfc7523bis,
  rfc7519,
  rfc8725,
  rfc9700,
  rfc9728,
  mcp,
  field,
].flat();

export const SCENARIOS: readonly Scenario[] = [
  coreScenarios,
  coreTargetScenarios,
  coreClientScenarios,
  delegationScenarios,
  externalSubjectScenarios,
  jwtClientAuthScenarios,
  jwtAccessTokenScenarios,
  introspectionScenarios,
  revocationScenarios,
  metadataScenarios,
  mcpAuthorizationServerScenarios,
  mcpProtectedResourceScenarios,
  securityScenarios,
].flat();
