// What the volumes tell the log, as pino takes it.

export interface VolumeLog {
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
}
