// The cases of boot-cases.ts, where nobody else's mounts are.
import { runCases } from '../helpers/private-mounts.js';

runCases('./boot-cases.js', import.meta.url);
