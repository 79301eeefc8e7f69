// The options of mount, as words and as a -o list.

import t from 'tap';
import { type MountConfig, mountOptionsHelp, parseMount } from '../../src/config.js';

t.test('options are taken', async (t) => {
  const table: [string[], Partial<MountConfig>][] = [
    [
      ['/data'],
      { backing: '/data', mountpoint: '/data', capacityBytes: null, marginBytes: null, reserveBy: 'writers', graceMs: 30_000 },
    ],
    [['/data', '/mnt'], { backing: '/data', mountpoint: '/mnt', allowOther: true, suid: false, dev: false, passthrough: true }],
    [['--capacity', '5GiB', '/d', '--margin=1M', '/m'], { capacityBytes: 5 * 2 ** 30, marginBytes: 1e6, mountpoint: '/m' }],
    [['/d', '--read-only', '--trust', '-f', '--json'], { readOnly: true, trust: true, foreground: true, json: true }],
    [['/d', '--no-allow-other', '--no-passthrough'], { allowOther: false, passthrough: false }],
    [['/d', '--reserve-by', 'owners', '--threads', '4', '--grace', '5s'], { reserveBy: 'owners', threads: 4, graceMs: 5000 }],
    [['/d', '--journal-keep', '30d'], { journalKeep: { ageMs: 30 * 86_400_000, bytes: Number.MAX_SAFE_INTEGER } }],
    [['/d', '--journal-keep', '1GiB'], { journalKeep: { ageMs: Number.MAX_SAFE_INTEGER, bytes: 2 ** 30 } }],
    [['/d', '--journal-keep', '2d,5M'], { journalKeep: { ageMs: 2 * 86_400_000, bytes: 5e6 } }],
    [
      ['/d', '/m', '-o', 'ro,noauto,nofail,_netdev,user,x-systemd.automount,capacity=1T'],
      { readOnly: true, capacityBytes: 1e12 },
    ],
    [['/d', '/m', '-o', 'ro', '-o', 'rw,suid,dev,noallow_other'], { readOnly: false, suid: true, dev: true, allowOther: false }],
    [
      ['/d', '/m', '-osuid,nosuid,log=/x,log_level=debug,reserve_by=root'],
      { suid: false, logFile: '/x', logLevel: 'debug', reserveBy: 'root' },
    ],
    [
      ['/d', '/m', '-o', 'ro,pool=fast=/srv/a:b:type=ssd:capacity=4TB,pool=slow=/srv/c:type=hdd/'],
      {
        readOnly: true,
        pools: [
          { name: 'fast', directory: '/srv/a:b', type: 'ssd', capacityBytes: 4e12, marginBytes: null },
          { name: 'slow', directory: '/srv/c:type=hdd/', type: null, capacityBytes: null, marginBytes: null },
        ],
      },
    ],
    [['/d'], { spoolGrant: null }],
    [['/d', '--spool-grant', '1GB'], { spoolGrant: { bytes: 1e9 } }],
    [['/d', '--spool-grant=0'], { spoolGrant: { bytes: 0 } }],
    [['/d', '/m', '-o', 'spool_grant=2.5%'], { spoolGrant: { fraction: 0.025 } }],
    [['/d'], { highWatermark: null, lowWatermark: 0.85 }],
    [['/d', '--high-watermark', '90%', '--low-watermark=80'], { highWatermark: 0.9, lowWatermark: 0.8 }],
    [['/d', '/m', '-o', 'high_watermark=85,low-watermark=85.0%'], { highWatermark: 0.85, lowWatermark: 0.85 }],
    [['/d'], { http: null, httpAny: false, httpMode: 0o600, httpTokenFile: null }],
    [['/d', '--http', '127.0.0.1:8188'], { http: { host: '127.0.0.1', port: 8188 } }],
    [['/d'], { volumePlugin: null }],
    [['/d', '--volume-plugin', '/run/docker/plugins/v.sock'], { volumePlugin: '/run/docker/plugins/v.sock' }],
    [['/d', '-o', 'volume-plugin=unix:/s'], { volumePlugin: '/s' }],
    [['/d', '--http=[::1]:0', '--http-token-file', '/t'], { http: { host: '::1', port: 0 }, httpTokenFile: '/t' }],
    [['/d', '--http', 'localhost:1'], { http: { host: 'localhost', port: 1 } }],
    [['/d', '--http', 'unix:/run/a b.sock', '--http-mode', '660'], { http: { socketPath: '/run/a b.sock' }, httpMode: 0o660 }],
    [['/d', '--http', '0.0.0.0:80', '--http-any'], { http: { host: '0.0.0.0', port: 80 }, httpAny: true }],
    [['/d', '/m', '-o', 'http=unix:/s,http_mode=0640'], { http: { socketPath: '/s' }, httpMode: 0o640 }],
    [['--', '-d', '-m'], { backing: '-d', mountpoint: '-m' }],
  ];
  for (const [argv, expected] of table) t.match(parseMount(argv, 0), expected, argv.join(' '));
  t.equal(parseMount(['/d'], 1000).allowOther, false, 'an ordinary user keeps the mount to himself');
});

t.test('what is not understood is named', async (t) => {
  const table: [string[], RegExp][] = [
    [[], /needs a backing directory/],
    [[''], /needs a backing directory/],
    [['/a', '/b', '/c'], /'\/c' is one too many/],
    [['/a', '--nonsense'], /unknown option '--nonsense'/],
    [['/a', '-x'], /unknown option '-x'/],
    [['/a', '--o', 'ro'], /unknown option '--o'/],
    [['/a', '--no-trust'], /unknown option '--no-trust'/],
    [['/a', '--constructor'], /unknown option/],
    [['/a', '-o', 'rw,bogus'], /unknown option 'bogus' in -o/],
    [['/a', '-o', 'pool=fast=/srv:type=tape'], /must be ssd or hdd/],
    [['/a', '-o', 'bogus=1'], /unknown option 'bogus' in -o/],
    [['/a', '-o', 'ro=1'], /unknown option 'ro'/],
    [['/a', '-o', 'trust=1'], /-o trust takes no value/],
    [['/a', '--read-only=yes'], /takes no value/],
    [['/a', '-o', 'capacity'], /-o capacity needs a value/],
    [['/a', '--capacity'], /--capacity needs a value/],
    ...['8188', ':8188', '127.0.0.1', '127.0.0.1:', '127.0.0.1:65536', '::1:80', 'http://127.0.0.1:80', 'a b:1', ''].map(
      (text): [string[], RegExp] => [['/a', '--http', text], /is no address: write 127\.0\.0\.1:8188/],
    ),
    [['/a', '--http', 'unix:'], /a socket needs a path/],
    [['/a', '--http', `unix:/${'x'.repeat(107)}`], /at most 107 bytes/],
    ...['0.0.0.0:1', '10.0.0.1:1', '[::]:1', 'example.org:1', '127.0.0.1.example.org:1'].map((text): [string[], RegExp] => [
      ['/a', '--http', text],
      /can be reached from other machines: say --http-any/,
    ]),
    [['/a', '--http-mode', '9'], /three octal digits/],
    [['/a', '--volume-plugin', `/${'s'.repeat(107)}`], /a socket needs a path of at most 107 bytes/],
    [['/a', '--volume-plugin='], /a socket needs a path/],
    [['/a', '--capacity', '-1'], /--capacity: '-1' is not a number of bytes/],
    [['/a', '--capacity=1.5G'], /--capacity: '1.5G'/],
    [['/a', '--grace', 'soon'], /--grace: 'soon' is not a duration/],
    [['/a', '--threads', '65'], /from 0 to 64/],
    [['/a', '--reserve-by', 'all'], /writers, owners, root/],
    [['/a', '--journal-keep', '1d,2d,3d'], /journal-keep/],
    [['/a', '--high-watermark', '80%'], /--low-watermark must not be above --high-watermark/],
    [['/a', '--high-watermark=90', '--low-watermark=91'], /--low-watermark must not be above --high-watermark/],
    [['/a', '--high-watermark', 'full'], /--high-watermark: 'full' is not a percentage/],
    [['/a', '--low-watermark=101%'], /--low-watermark: '101%' is not a percentage/],
    [['/a', '--spool-grant', '101%'], /--spool-grant: '101%' is not a percentage/],
    [['/a', '--spool-grant', '-1'], /--spool-grant: '-1' is not a number of bytes/],
    [['/a', '--journal-keep', 'x'], /--journal-keep: 'x'/],
  ];
  for (const [argv, message] of table) {
    t.throws(() => parseMount(argv, 0), { code: 'USAGE', exitCode: 2, message }, argv.join(' '));
  }
});

t.test('the help has every option, on lines that are not too long', async (t) => {
  const help = mountOptionsHelp();
  for (const name of ['--capacity BYTES', '--[no-]allow-other', '-f, --foreground', '-o LIST']) t.ok(help.includes(name), name);
  t.ok(help.split('\n').every((line) => line.length <= 130));
});
