// `vreserve serve`: the original service, on the filesystems of the machine. It keeps count, and enforces nothing.
import { once } from 'node:events';
import { openSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { asVreserveError, errnoOf, VreserveError } from '../core/errors.js';
import { formatAddress, isLoopback, parseHttpAddress } from '../core/http-address.js';
import { Advisory } from '../http/advisory.js';
import type { Teller } from '../http/host.js';
import { HttpService } from '../http/service.js';
import { openLog } from '../log.js';
import { readVersion } from '../version.js';
import { printable } from '../views/text.js';
import type { Command } from './command.js';

import { note, print, printJson } from './output.js';
import { PromisesFile } from './promises-file.js';
import { readToken } from './token-file.js';
import { volumeOf } from './volumes.js';

export const serve: Command = {
  usage: 'serve [DATA] [-H HOST] [-p PORT] [-l LOG]',
  description: [
    'Runs the original service until Ctrl-C: /ping/, /reserve/, /release/ and /report/ for paths on all filesystems of the',
    'machine. Nothing is mounted, and nothing is enforced: who asks is told whether the bytes are free and nobody else was',
    'promised them. With DATA, a directory, what is promised is kept there over restarts; else it is gone at the end.',
    'Where the bytes are to be kept free in earnest: vreserve mount --http.',
  ],
  examples: ['vreserve serve -p 8188', "curl 'http://127.0.0.1:8188/reserve/?path=/srv/data/job1&bytes=500000000'"],
  options: {
    host: { type: 'string', short: 'H', unit: 'HOST', help: 'address to listen on (127.0.0.1)' },
    port: { type: 'string', short: 'p', unit: 'PORT', help: 'port to listen on (8188)' },
    log: { type: 'string', short: 'l', unit: 'LOG', help: 'file to log to (stdout)' },
    'token-file': { type: 'string', unit: 'FILE', help: 'ask for the token that is in this file' },
  },
  words: [0, 1],
  async run({ positionals: [data], text, json }) {
    const host = text('host') ?? '127.0.0.1';
    const address = parseHttpAddress(`${host.includes(':') ? `[${host}]` : host}:${text('port') ?? '8188'}`);
    const logFile = text('log');
    const tokenFile = text('token-file');
    const token = tokenFile === undefined ? null : readToken(resolve(tokenFile));
    const teller = new LogFile(logFile === undefined ? null : resolve(logFile), json);
    const file = data === undefined ? null : new PromisesFile(resolve(data));
    const volumes = new Advisory({ volumeOf, keep: async (promised) => file?.write(promised) });
    await volumes.resume(file?.read() ?? []);
    const options = { address, socketMode: 0o600, token, log: openLog(null, 'error'), version: readVersion() };
    const service = await HttpService.forVolumes(volumes, teller, options);
    if (token === null && !isLoopback(address)) note('nobody is asked who they are: whoever connects can release everything');
    const stopped = Promise.race((['SIGINT', 'SIGTERM'] as const).map((signal) => once(process, signal)));
    service.serve();
    const at = formatAddress(service.address).replace('http://', '');
    const port = 'port' in service.address ? service.address.port : 0;
    if (json) printJson({ host, port, log: logFile ?? null, pid: process.pid });
    else if (logFile !== undefined) {
      print(`vreserve is listening on host ${host} port ${port}`);
      print(`and logging to ${logFile}`);
      print('Use Ctrl-C to stop');
    }
    teller.say(`vreserve is listening on ${at}`);
    teller.say(`To test: curl http://${at}/ping/`);
    await stopped;
    await service.close();
    return 0;
  },
};

/** A line a request: time, level, who asked, and what became of it. A log that cannot be written stops nothing. */
class LogFile implements Teller {
  readonly #fd: number;

  /** null: stdout, or stderr where that has the JSON. Throws SYSTEM. */
  constructor(file: string | null, json: boolean) {
    try {
      this.#fd = file === null ? (json ? 2 : 1) : openSync(file, 'a', 0o600);
    } catch (error) {
      const errno = errnoOf(error) ?? 'EIO';
      throw new VreserveError('SYSTEM', { errno, reason: `the log '${file}' cannot be written: ${errno}` }, { cause: error });
    }
  }

  say(text: string): void {
    this.#write('INFO', text);
  }

  done(peer: string, text: string): void {
    this.#write('INFO', `[${peer}] ${text}`);
  }

  failed(peer: string, text: string): void {
    this.#write('ERROR', `[${peer}] ${text}`);
  }

  #write(level: string, text: string): void {
    try {
      writeSync(this.#fd, `${new Date().toISOString()} ${level} ${printable(text)}\n`);
    } catch (error) {
      if (asVreserveError(error).errno === 'EPIPE') process.kill(process.pid, 'SIGTERM');
    }
  }
}
