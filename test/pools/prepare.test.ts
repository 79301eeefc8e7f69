// The cases of prepare-cases.ts, where nobody else's mounts are.
import { runCases } from '../helpers/private-mounts.js';

runCases('./prepare-cases.js', import.meta.url);
