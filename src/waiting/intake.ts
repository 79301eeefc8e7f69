// Takes in what comes into the spool, and notices what is taken out of it.

import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../core/clock.js';
import { asVreserveError } from '../core/errors.js';
import { askerOf } from './asker.js';
import type { Found } from './box.js';
import type { Box } from './box-messages.js';
import { type Decisions, Failures, isPassing } from './decisions.js';
import type { LineHost } from './host.js';
import { parseRequest } from './request.js';
import type { Requests } from './requests.js';
import { FRESH } from './waiting.js';

/** So many names at once that some may have been lost on the way: all are looked at. */
const MOST_NAMES = 1000;

export interface IntakeParts {
  host: LineHost;
  clock: Clock;
  requests: Requests;
  decisions: Decisions;
  box: Box;
  /** Runs work that may fail, and is then tried again. */
  guarded: (work: () => Promise<void>) => Promise<void>;
  /** Something came in or left. */
  onChange: () => void;
}

/** Names are taken in the order in which they were heard of, one batch after the other. */
export class Intake {
  readonly #parts: IntakeParts;
  readonly #heard = new Set<string>();
  #taking: Promise<void> = Promise.resolve();
  #ended = false;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  /** Watches from now on. Throws where it cannot. */
  watch(onError: (error: unknown) => void): void {
    const { box } = this.#parts;
    box.close();
    box.watch((name) => this.#hear(name), onError);
  }

  stop(): void {
    this.#ended = true;
    this.#parts.box.close();
  }

  /** Resolves when what was heard of is taken in. */
  async idle(): Promise<void> {
    while (this.#heard.size > 0) await setImmediate();
    await this.#taking;
  }

  /** Runs work in the same turn as what comes in. */
  inTurn(work: () => Promise<void>): Promise<void> {
    this.#taking = this.#taking.then(() => this.#parts.guarded(work));
    return this.#taking;
  }

  async lookAtAll(): Promise<void> {
    const { box, requests } = this.#parts;
    const there = new Set(await box.pending());
    const gone = requests.line.all().flatMap(({ name }) => (there.has(name) ? [] : [name]));
    const fresh = [...there].filter((name) => requests.named(name) === undefined);
    await this.#lookAt([...gone, ...(await box.inOrder(fresh))]);
  }

  /** null: nobody knows which. */
  #hear(name: string | null): void {
    if (this.#heard.size === 0) void setImmediate().then(() => this.#takeHeard());
    this.#heard.add(name ?? '');
  }

  #takeHeard(): void {
    const names = [...this.#heard];
    this.#heard.clear();
    const all = names.length > MOST_NAMES || names.includes('');
    void this.inTurn(() => (all ? this.lookAtAll() : this.#lookAt(names)));
  }

  async #lookAt(names: readonly string[]): Promise<void> {
    const { box, requests, onChange } = this.#parts;
    const failures = new Failures();
    const joins: Promise<unknown>[] = [];
    for (const name of names) {
      if (this.#ended) break;
      if (requests.isJoining(name)) continue;
      await failures.catch(async () => {
        const known = requests.named(name);
        const found = await box.read(name);
        if (known === undefined && found !== null) joins.push(...(await this.#take(name, found, failures)));
        else if (found === null && known !== undefined && !known.busy && requests.isWaiting(known)) await requests.leave(known);
      });
    }
    await Promise.all(joins);
    onChange();
    failures.throwFirst();
  }

  /** Resolves when it is judged, with the promise that it is recorded (in a list: none where it is refused), so that many share a commit. */
  async #take(name: string, found: Found, failures: Failures): Promise<Promise<unknown>[]> {
    const { host, clock, requests, decisions } = this.#parts;
    const by = askerOf(found);
    const { text, uid, gid } = found;
    try {
      if (found.refusal !== null) throw found.refusal;
      const { waitMs, ...asked } = parseRequest(text);
      const { path: at, around } = await host.judge(asked.path, asked.bytes, asked.options, by);
      const askedAtMs = clock();
      const deadlineMs = waitMs === null ? null : askedAtMs + waitMs;
      const joining = { name, askedAtMs, deadlineMs, asked, text, by, owner: { uid, gid }, at, ...FRESH };
      return [failures.catch(() => requests.join(joining, around, async () => {}))];
    } catch (error) {
      if (isPassing(error)) throw error;
      await decisions.refuseUnrecorded(name, text, by, { uid, gid }, asVreserveError(error));
      return [];
    }
  }
}
