// What bytes look like: a content type for those who did not name one. The rules are those of the WHATWG's MIME Sniffing Standard
// (chapters 5.2, 6 and 7.1) as Go's http.DetectContentType has them, since that is what the original answers with.

/** So many bytes from the start decide. */
export const SNIFFED_BYTES = 512;

const TEXT = 'text/plain; charset=utf-8';

/** Tags that a document may begin with. */
const TAGS = '!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY|BR|P|!--';

const HTML = new RegExp(`^[\\t\\n\\f\\r ]*<(?:${TAGS})[ >]`, 'i');
const XML = /^[\t\n\f\r ]*<\?xml/;

/** A pattern of hexadecimal digits, `..` for any byte, at the start. */
const SIGNATURES: readonly (readonly [pattern: string, type: string])[] = [
  ['255044462d', 'application/pdf'],
  ['252150532d41646f62652d', 'application/postscript'],
  ['feff....', 'text/plain; charset=utf-16be'],
  ['fffe....', 'text/plain; charset=utf-16le'],
  ['efbbbf..', TEXT],
  ['00000100', 'image/x-icon'],
  ['00000200', 'image/x-icon'],
  ['424d', 'image/bmp'],
  ['474946383761', 'image/gif'],
  ['474946383961', 'image/gif'],
  ['52494646........574542505650', 'image/webp'],
  ['89504e470d0a1a0a', 'image/png'],
  ['ffd8ff', 'image/jpeg'],
  ['464f524d........41494646', 'audio/aiff'],
  ['494433', 'audio/mpeg'],
  ['4f67675300', 'application/ogg'],
  ['4d54686400000006', 'audio/midi'],
  ['52494646........41564920', 'video/avi'],
  ['52494646........57415645', 'audio/wave'],
];

/** After the test for MP4. */
const MORE_SIGNATURES: readonly (readonly [pattern: string, type: string])[] = [
  ['1a45dfa3', 'video/webm'],
  ['(?:..){34}4c50', 'application/vnd.ms-fontobject'],
  ['00010000', 'font/ttf'],
  ['4f54544f', 'font/otf'],
  ['74746366', 'font/collection'],
  ['774f4646', 'font/woff'],
  ['774f4632', 'font/woff2'],
  ['1f8b08', 'application/x-gzip'],
  ['504b0304', 'application/zip'],
  ['526172211a0700', 'application/x-rar-compressed'],
  ['526172211a070100', 'application/x-rar-compressed'],
  ['0061736d', 'application/wasm'],
];

/** The type of what begins with these bytes; `application/octet-stream` where nothing is known of it. */
export function sniffContentType(start: Uint8Array): string {
  const bytes = Buffer.from(start.buffer, start.byteOffset, Math.min(start.length, SNIFFED_BYTES));
  const text = bytes.toString('latin1');
  if (HTML.test(text)) return 'text/html; charset=utf-8';
  if (XML.test(text)) return 'text/xml; charset=utf-8';
  const hex = bytes.toString('hex');
  const signed = find(SIGNATURES, hex) ?? (isMp4(bytes) ? 'video/mp4' : find(MORE_SIGNATURES, hex));
  if (signed !== null) return signed;
  return bytes.some(isBinary) ? 'application/octet-stream' : TEXT;
}

function find(signatures: typeof SIGNATURES, hex: string): string | null {
  return signatures.find(([pattern]) => new RegExp(`^${pattern}`).test(hex))?.[1] ?? null;
}

/** Its first box names a brand that begins with `mp4`, in the main place or among the compatible ones. */
function isMp4(bytes: Buffer): boolean {
  if (bytes.length < 12) return false;
  const boxBytes = bytes.readUInt32BE(0);
  if (bytes.length < boxBytes || boxBytes % 4 !== 0 || bytes.toString('latin1', 4, 8) !== 'ftyp') return false;
  for (let at = 8; at < boxBytes; at += 4) {
    // The version of the main brand.
    if (at !== 12 && bytes.toString('latin1', at, at + 3) === 'mp4') return true;
  }
  return false;
}

/** No letter of a text: control characters but tab, newline, form feed, carriage return and escape. */
function isBinary(byte: number): boolean {
  return byte <= 0x08 || byte === 0x0b || (byte >= 0x0e && byte <= 0x1a) || (byte >= 0x1c && byte <= 0x1f);
}
