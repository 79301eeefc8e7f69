// A service over HTTP: the commands of a mount, or where there are none the original API alone.

import { VreserveError } from '../core/errors.js';
import type { Report } from '../views/json.js';
import { badAnswer, type HttpAnswer, isNoRoute, isObject, objectIn, refusalOf } from './answers.js';
import { HttpConnection } from './http-connection.js';
import { HttpStore } from './http-store.js';
import { originalErrorOf, originalRequest } from './original.js';
import { checkReport } from './report.js';
import type { Stop } from './stop.js';
import type { Target } from './target.js';
import type { CommandJson, StoreTransport, Transport } from './transport.js';

export class HttpTransport implements Transport {
  readonly store: StoreTransport;
  readonly #connection: HttpConnection;
  /** The service has told that it knows no commands. */
  #isOriginal = false;

  constructor(target: Target & { kind: 'http' }, token: string | null) {
    this.#connection = new HttpConnection(target, token);
    this.store = new HttpStore(this.#connection);
  }

  async ping(stop: Stop): Promise<void> {
    const answer = await this.#ask('/ping/', stop);
    // A store that is served alone, where what is not there needs the token too.
    if (isNoRoute(answer) || answer.status === 401) this.#check(await this.#ask('/healthz', stop));
    else if (this.#original(answer).Succeeded !== true) throw badAnswer(this.#connection.where, 'it is no answer to a ping');
  }

  async command(command: CommandJson, waitMs: number | null | undefined, stop: Stop): Promise<Record<string, unknown>> {
    if (waitMs !== undefined) {
      const reason = 'nobody waits over HTTP: use the mount (new VreserveClient(MOUNTPOINT)), or its .vreserve/spool/requests';
      throw new VreserveError('NOT_SUPPORTED', { reason });
    }
    if (!this.#isOriginal) {
      const headers = { 'content-type': 'application/json' };
      const body = JSON.stringify(command);
      const answer = await this.#connection.ask({ method: 'POST', path: '/api/v1.0/command', headers, body }, stop);
      if (!isNoRoute(answer)) return this.#reply(answer);
      this.#isOriginal = true;
    }
    const request = originalRequest(command);
    this.#original(await this.#connection.ask(request, stop));
    return { ok: true, cmd: command.cmd, lot: null };
  }

  async report(stop: Stop): Promise<Report> {
    const answer = this.#check(await this.#ask('/api/v1.0/report', stop));
    return checkReport(objectIn(answer.text, this.#connection.where), this.#connection.where);
  }

  async reservations(path: string, stop: Stop): Promise<Map<string, number>> {
    const { Data } = this.#original(await this.#ask(`/report/?path=${encodeURIComponent(path)}`, stop));
    const rows = isObject(Data) ? Object.entries(Data) : null;
    if (rows?.every((row): row is [string, number] => typeof row[1] === 'number') !== true) {
      throw badAnswer(this.#connection.where, 'it has no reservations');
    }
    return new Map(rows as [string, number][]);
  }

  close(): void {
    this.#connection.close();
  }

  #ask(path: string, stop: Stop): Promise<HttpAnswer> {
    return this.#connection.ask({ method: 'GET', path }, stop);
  }

  #check(answer: HttpAnswer): HttpAnswer {
    if (answer.status === 200) return answer;
    throw refusalOf(answer, this.#connection.where);
  }

  #reply(answer: HttpAnswer): Record<string, unknown> {
    const reply = objectIn(this.#check(answer).text, this.#connection.where);
    if (reply.ok === true) return reply;
    throw badAnswer(this.#connection.where, 'it is no reply to a command');
  }

  #original(answer: HttpAnswer): Record<string, unknown> {
    if (answer.status !== 200) throw originalErrorOf(answer, this.#connection.where);
    return objectIn(answer.text, this.#connection.where);
  }
}
