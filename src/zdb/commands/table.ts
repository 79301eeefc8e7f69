// The table of commands, in the order in which what a client says is compared with them.

import { AUTH, SELECT } from './access.js';
import { type Command, NOT_SUPPORTED } from './command.js';
import { CHECK, DEL, EXISTS, GET, KEYCUR, KEYTIME, LENGTH, MGET, SET, SETX } from './data.js';
import { FLUSH, NSDEL, NSINFO, NSJUMP, NSLIST, NSNEW, NSSET, RELOAD } from './namespaces.js';
import { DBSIZE, HISTORY, KSCAN, RSCAN, SCAN, SCANX } from './scan.js';
import { INFO, PING, STOP, TIME, WAIT } from './system.js';

/** There is a command of this name, and it does nothing here. */
function without(name: string): Command {
  return { name, run: () => NOT_SUPPORTED };
}

const TABLE: readonly Command[] = [
  WAIT,
  without('MIRROR'),
  without('MASTER'),
  PING,
  TIME,
  AUTH,
  without('HOOKS'),
  without('INDEX'),
  without('DATA'),
  SET,
  SETX,
  GET,
  MGET,
  DEL,
  EXISTS,
  CHECK,
  SCAN,
  SCANX,
  RSCAN,
  KSCAN,
  HISTORY,
  KEYCUR,
  LENGTH,
  KEYTIME,
  INFO,
  STOP,
  DBSIZE,
  NSNEW,
  NSDEL,
  NSLIST,
  NSSET,
  NSINFO,
  NSJUMP,
  SELECT,
  RELOAD,
  FLUSH,
];

/** By all their beginnings, in small and in capital letters: the first of the table. */
const BY_WORD = new Map<string, Command>();
for (const command of TABLE) {
  for (let length = 1; length <= command.name.length; length++) {
    const word = command.name.slice(0, length);
    for (const each of [word, word.toLowerCase()]) if (!BY_WORD.has(each)) BY_WORD.set(each, command);
  }
}

/** The first of the table that begins with the word, whatever its letters; undefined: none does. */
export function commandNamed(word: string): Command | undefined {
  return BY_WORD.get(word) ?? BY_WORD.get(word.toUpperCase());
}
