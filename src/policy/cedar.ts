/**
 * The one place that imports Cedar. It fences a fault that kills the process: on Node 20 and 22, V8 inlines calls into
 * WebAssembly and cannot deoptimise around one that returns an object, as all of Cedar's do ("Fatal error: unreachable
 * code" in Deoptimizer::DoComputeBuiltinContinuation; seen after some thousand questions; gone in Node 24). So the
 * inlining is switched off there before the first call; what is lost is nanoseconds beside a question's microseconds.
 */
import { setFlagsFromString } from 'node:v8';

const FIRST_SOUND_NODE = 24;

// Here and not in a function: whoever can call Cedar has imported this module, so nobody can call it unfenced.
if (Number.parseInt(process.versions.node, 10) < FIRST_SOUND_NODE)
  setFlagsFromString('--no-turbo-inline-js-wasm-calls');

export {
  policyToJson,
  preparsePolicySet,
  preparseSchema,
  statefulIsAuthorized,
  validate,
} from '@cedar-policy/cedar-wasm/nodejs';
export type {
  DetailedError,
  EntityJson,
  PolicyJson,
  StatefulAuthorizationCall,
  TypeAndId,
  ValidationError,
} from '@cedar-policy/cedar-wasm/nodejs';
