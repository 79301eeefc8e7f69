// `vreserve spool checkout`, `save` and `remove`: one entry by hand, from taking it to what becomes of it.
import { VreserveError } from '../core/errors.js';
import type { Command } from './command.js';
import { print, printJson } from './output.js';
import { outliveReader } from './spool-answer.js';
import { heldNamed, removeNamed, saveHeld, takeNamed } from './spool-held.js';
import { META_OPTION, metadataOf } from './spool-metadata.js';
import { openSpool } from './spool-open.js';
import { answerOf, tellOrPutBack } from './spool-take.js';

export const checkout: Command = {
  usage: 'spool checkout DIR QUEUE [NAME]',
  description: [
    'Takes an entry, the first without NAME: nobody else gets it. Prints its name, its metadata and the path of its data. It stays',
    'checked out until save, remove or recover.',
  ],
  examples: [
    'vreserve spool checkout /data/mail new',
    'vreserve spool remove /data/mail new photos_000000',
    'vreserve spool save /data/mail new photos_000000 failed',
  ],
  options: {},
  words: [2, 3],
  async run({ positionals: [word = '', queue = '', name], json }) {
    const spool = await openSpool(word, [queue]);
    outliveReader();
    const held = name === undefined ? await spool.reader(queue).dequeueAvailable() : await takeNamed(spool, queue, name);
    if (held === null) throw new VreserveError('SPOOL_EMPTY', { queue });
    await tellOrPutBack(held, answerOf(held, { state: 'checked-out' }), json);
    return 0;
  },
};

export const save: Command = {
  usage: 'spool save DIR QUEUE NAME TO [--meta TEXT|@FILE] [--force]',
  description: [
    'Puts an entry of QUEUE that is checked out into the queue TO, which may be QUEUE itself, with its metadata or with other.',
    'With --force also one that is not checked out: it is checked out first.',
  ],
  examples: ['vreserve spool save /data/mail new photos_000000 failed --meta "no such album"'],
  options: { meta: META_OPTION, force: { type: 'boolean', help: 'check it out first, where it is queued' } },
  words: [4, 4],
  async run({ positionals: [word = '', queue = '', name = '', to = ''], flag, text, json }) {
    const given = text('meta');
    const metadata = given === undefined ? undefined : metadataOf(given);
    const spool = await openSpool(word, [queue, to]);
    outliveReader();
    const held = await heldNamed(spool, queue, name, flag('force'));
    if (metadata !== undefined) held.update(metadata);
    await saveHeld(spool, held, to);
    if (json) printJson({ name, queue, state: 'saved', to, metadata: held.contents });
    else print(`saved ${name} into ${to}`);
    return 0;
  },
};

export const remove: Command = {
  usage: 'spool remove DIR QUEUE NAME [--force]',
  description: [
    'Removes an entry of QUEUE that is checked out: its data, its metadata and its name.',
    'With --force also one that is not checked out: it is checked out first, so that nobody else is at it.',
  ],
  examples: ['vreserve spool remove /data/mail new photos_000000'],
  options: { force: { type: 'boolean', help: 'check it out first, where it is queued' } },
  words: [3, 3],
  async run({ positionals: [word = '', queue = '', name = ''], flag, json }) {
    const spool = await openSpool(word, [queue]);
    outliveReader();
    await removeNamed(spool, queue, name, flag('force'));
    if (json) printJson({ name, queue, state: 'removed' });
    else print(`removed ${name}`);
    return 0;
  },
};
