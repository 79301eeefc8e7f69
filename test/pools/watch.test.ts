// The cases of watch-cases.ts, where nobody else's mounts are.
import { runCases } from '../helpers/private-mounts.js';

runCases('./watch-cases.js', import.meta.url);
