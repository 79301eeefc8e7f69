// The commands `lot`, `reclaim` and `reserve` with options, as a person or a script gives them: words, files, exit codes, texts.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { mount, temporaryDirectory } from '../helpers/mount.js';
import type { RunOptions } from '../helpers/run.js';

function lotJson(name: string, more: object = {}): string {
  const management_policy_attrs = {
    dedicated_GB: 0.001,
    opportunistic_GB: 0.0005,
    max_num_objects: 10,
    creation_time: 0,
    expiration_time: 4102444800000,
    deletion_time: 4102444800000,
  };
  return JSON.stringify({ lot_name: name, owner: 'root', parents: [name], management_policy_attrs, ...more });
}

t.test('lots on the command line', async (t) => {
  const m = await mount(t);
  const there = ['--mount', m.mnt];
  const file = join(await temporaryDirectory(t), 'lot.json');
  await writeFile(file, lotJson('from-file', { paths: [{ path: '/file', recursive: true }] }));

  interface Case {
    args: string[];
    input?: string;
    code?: number;
    stdout?: RegExp | string;
    stderr?: RegExp;
  }
  const cases: Case[] = [
    { args: ['lot', 'add', lotJson('word'), ...there], stdout: 'made word\n' },
    { args: ['lot', 'add', `@${file}`, ...there], stdout: 'made from-file\n' },
    { args: ['lot', 'add', ...there], input: lotJson('from-stdin', { parents: ['word'] }), stdout: 'made from-stdin\n' },
    { args: ['lot', 'add', '-', ...there], input: lotJson('dash'), stdout: 'made dash\n' },
    { args: ['lot', 'list', ...there], stdout: 'default\ndash\nfrom-file\nfrom-stdin\nword\n' },
    { args: ['lot', 'list', ...there, '--json'], stdout: '["default","dash","from-file","from-stdin","word"]\n' },
    { args: ['lot', 'parents', 'from-stdin', ...there], stdout: 'word\n' },
    { args: ['lot', 'exists', 'word', ...there], stdout: 'yes\n' },
    { args: ['lot', 'exists', 'nothing', ...there], stdout: 'no\n', code: 1 },
    { args: ['lot', 'is-root', 'from-stdin', ...there, '--json'], stdout: 'false\n', code: 1 },
    {
      args: ['lot', 'show', 'from-file', ...there],
      stdout: /^lot +from-file\nowner +root\n[\s\S]*\/file\/ +recursive[\s\S]*dedicated_GB +1 MB\n/,
    },
    { args: ['lot', 'which', '/file/a/b', ...there], stdout: 'from-file\n' },
    { args: ['lot', 'policy', 'from-stdin', '--recursive', ...there], stdout: /max_num_objects +10/ },
    {
      args: ['lot', 'usage', '{"lot_name":"word","total_GB":true}', ...there, '--json'],
      stdout: /^\{"total_GB":\{"self_contrib":0,/,
    },
    { args: ['lot', 'past', 'ded', ...there], stdout: /default/ },
    { args: ['lot', 'context', ...there], stdout: /^caller +root\nadministrator +true\n$/ },
    { args: ['lot', 'usage', 'set', '{"lot_name":"word","self_GB":0.25}', ...there], stdout: 'recorded word\n' },
    {
      args: ['lot', 'usage', 'set', '{"lot_name":"word","self_GB":-1}', '--delta', ...there],
      code: 1,
      stderr: /negative values for the key self_GB/,
    },
    { args: ['lot', 'usage', 'set', '{"lot_name":"from-file","self_GB":1}', ...there], code: 1, stderr: /is measured/ },
    { args: ['lot', 'remove', 'word', ...there], code: 1, stderr: /The lot being removed is a root/ },
    { args: ['lot', 'remove', 'dash', ...there], stdout: 'removed dash\n' },
    { args: ['lot', 'show', 'dash', ...there], code: 1, stderr: /^vreserve: no lot 'dash'\n$/ },
    // Not understood.
    { args: ['lot', ...there], code: 2, stderr: /something is missing/ },
    { args: ['lot', 'lsit', ...there], code: 2, stderr: /lot has no 'lsit'; it has version, / },
    { args: ['lot', 'add', '{"lot_name":', ...there], code: 2, stderr: /parse error at line 1, column/ },
    { args: ['lot', 'add', '{"lot_name":"x"}', ...there], code: 2, stderr: /required property 'owner' not found/ },
    { args: ['lot', 'add', '@/no/such/file', ...there], code: 1, stderr: /ENOENT/ },
    { args: ['lot', 'show', ...there], code: 2, stderr: /something is missing: LOT/ },
    { args: ['lot', 'list', 'word', ...there], code: 2, stderr: /one word too many/ },
    { args: ['lot', 'list', '--recursive', ...there], code: 2, stderr: /lot list has no option '--recursive'/ },
    { args: ['lot', 'past', 'tense', ...there], code: 2, stderr: /lot past del\|exp\|opp\|obj\|ded, not 'tense'/ },
    { args: ['lot', 'list', '--mount', '/'], code: 1, stderr: /not a vreserve mount/ },
    // Reservations.
    {
      args: [
        'reserve',
        `${m.mnt}/job`,
        '1MB',
        '--opportunistic',
        '2MB',
        '--objects',
        '3',
        '--expires',
        '2h',
        '--owner',
        'nobody',
      ],
      stdout: /^reserved 1 MB and 2 MB more for \/job, 0 B used, at most 3 files, until .*Z\n$/,
    },
    {
      args: ['reserve', `${m.mnt}/job`, '1MB', '--opportunistic', 'unlimited'],
      stdout: /^reserved 1 MB and more without limit for \/job, /,
    },
    { args: ['lot', 'owners', '/job', ...there], stdout: 'nobody\n' },
    { args: ['reserve', `${m.mnt}/job`, '1MB', '--expires', 'soon'], code: 2, stderr: /'soon' is not a duration/ },
    { args: ['reserve', `${m.mnt}/job`, '1MB', '--objects', '-1'], code: 2, stderr: /objects/ },
    { args: ['release', `${m.mnt}/file`], code: 1, stderr: /is a path of lot 'from-file'.*vreserve lot remove/ },
    // Reclaiming.
    { args: ['reclaim', m.mnt], code: 2, stderr: /say --plan to list, or --apply to delete/ },
    { args: ['reclaim', m.mnt, '--plan', '--apply'], code: 2, stderr: /say --plan/ },
    { args: ['reclaim', m.mnt, '--plan', '--low-watermark', '101%'], code: 2, stderr: /not a percentage/ },
    { args: ['reclaim', m.mnt, '--plan', '--low-watermark', '100%'], stdout: /^would delete 0 files, 0 B: pool main filled / },
  ];
  for (const { args, input, code = 0, stdout = '', stderr } of cases) {
    const options: RunOptions = input === undefined ? {} : { input };
    const said = await m.run(args, options);
    const what = args.filter((word) => !there.includes(word)).join(' ');
    t.equal(said.code, code, `${what}: ${said.stderr}`);
    if (typeof stdout === 'string') t.equal(said.stdout, stdout, what);
    else t.match(said.stdout, stdout, what);
    t.match(said.stderr, stderr ?? /^$/, what);
  }
});
