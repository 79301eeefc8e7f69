// A process that writes lines to `control`, each in a write of its own, from one thread or several at once, and prints the
// seconds that it took: lot-lines.js CONTROL THREADS COUNT TEMPLATE, where {} of the template is a number.
import { closeSync, openSync, writeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

interface Share {
  control: string;
  template: string;
  from: number;
  to: number;
  /** Waiting threads, then the word to begin. */
  gate: Int32Array;
}

/** A line that is refused fails its write, and so the process. */
function writeLines({ control, template, from, to }: Share, onOpen: () => void): void {
  const fd = openSync(control, 'r+');
  const lines = Array.from({ length: to - from }, (_, i) => Buffer.from(`${template.replaceAll('{}', String(from + i))}\n`));
  onOpen();
  for (const line of lines) writeSync(fd, line);
  closeSync(fd);
}

async function run([control = '', threadsText = '', countText = '', template = '']: string[]): Promise<void> {
  const [threads, count] = [Number(threadsText), Number(countText)];
  const gate = new Int32Array(new SharedArrayBuffer(8));
  let start = 0n;
  if (threads === 1) {
    writeLines({ control, template, from: 0, to: count, gate }, () => {
      start = process.hrtime.bigint();
    });
  } else {
    const each = Math.ceil(count / threads);
    const workers = Array.from({ length: threads }, (_, i) => {
      const share: Share = { control, template, from: i * each, to: Math.min(count, (i + 1) * each), gate };
      return new Worker(fileURLToPath(import.meta.url), { workerData: share });
    });
    const ended = Promise.all(
      workers.map((worker) => new Promise<void>((done, failed) => worker.on('error', failed).on('exit', () => done()))),
    );
    const ready = setInterval(() => {
      if (Atomics.load(gate, 0) < threads) return;
      clearInterval(ready);
      start = process.hrtime.bigint();
      Atomics.store(gate, 1, 1);
      Atomics.notify(gate, 1);
    }, 1);
    await ended.finally(() => clearInterval(ready));
  }
  process.stdout.write(`${Number(process.hrtime.bigint() - start) / 1e9}\n`);
}

if (isMainThread) {
  await run(process.argv.slice(2));
} else {
  const share = workerData as Share;
  writeLines(share, () => {
    Atomics.add(share.gate, 0, 1);
    Atomics.wait(share.gate, 1, 0);
  });
}
