// One step on a store, in a process of its own: `once.js DIR create|update|remove|fail`.
import { Store } from '../../src/store/store.js';
import { pieces } from './blobs.js';

const [, , dir = '', step = ''] = process.argv;
const store = await Store.open(dir, { gcIntervalMs: null });
if (step === 'create') await store.create('name', pieces('content'));
else if (step === 'update') await store.update('name', pieces('another'));
else if (step === 'remove') await store.remove('name');
else if (step === 'fail') await store.update('name', pieces('x', new Error('broken off'))).catch(() => {});
else throw new Error(`no such step: ${step}`);
await store.close();
