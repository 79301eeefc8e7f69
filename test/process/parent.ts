// Starts a peer in its own process group and says both pids: for a test that ends this process in whatever way.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const peer = spawn(process.execPath, [fileURLToPath(new URL('./peer.js', import.meta.url))], {
  stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  serialization: 'advanced',
});
peer.on('message', () => process.stdout.write(`${peer.pid}\n`));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.stdout.write(`${signal}\n`));
