// A process that serves the volumes of a mount beside the mount's own: `served.js MNT SOCKET [read-only]`. Says `ready`; ends with SIGTERM.
import { HttpService } from '../../src/http/service.js';
import { quietLog } from '../../src/log.js';
import { VolumeDriver } from '../../src/volumes/driver.js';
import { ControlHost } from './control-host.js';

const [, , mountpoint = '', socketPath = '', readOnly] = process.argv;
const log = quietLog();
const driver = await VolumeDriver.open({
  host: new ControlHost(mountpoint),
  mountpoint,
  readOnly: readOnly === 'read-only',
  log,
});
const options = { address: { socketPath }, socketMode: 0o600, token: null, log, version: '0' };
const service = await HttpService.forPlugin(() => driver, options);
service.serve();
process.stdout.write('ready\n');
process.on('SIGTERM', () => void service.close().then(() => driver.close()));
