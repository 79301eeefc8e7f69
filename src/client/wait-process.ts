// The process that waits for its parent: reads one request, writes one reply, and ends when the parent is gone.

import { createInterface } from 'node:readline';
import { asVreserveError } from '../core/errors.js';
import { sendControl } from './control.js';
import type { WaitingRequest } from './waiting.js';

const lines = createInterface({ input: process.stdin });
// An exit would wait for the write that waits.
lines.once('close', () => process.kill(process.pid, 'SIGKILL'));
lines.once('line', (line) => void answer(JSON.parse(line) as WaitingRequest));

async function answer({ mountpoint, request }: WaitingRequest): Promise<void> {
  const reply = await sendControl<object>(mountpoint, request).catch((error: unknown) => {
    const { code, errno, message, details } = asVreserveError(error);
    return { ok: false, ...details, code, errno, message };
  });
  process.stdout.write(JSON.stringify(reply), () => process.exit(0));
}
