// The cases of killed-cases.ts, where nobody else's mounts are.
import { runCases } from '../helpers/private-mounts.js';

runCases('./killed-cases.js', import.meta.url);
