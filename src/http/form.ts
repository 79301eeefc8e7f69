// Parameters as Go's Request.FormValue finds them: in an urlencoded body, then the URL, then a multipart body.

/** A parameter. `isText`: its bytes were valid UTF-8; else `text` has U+FFFD in their place. */
export interface Parameter {
  text: string;
  isText: boolean;
}

const ABSENT: Parameter = { text: '', isText: true };

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Of one request. */
export class Form {
  readonly #values = new Map<string, Parameter>();

  /** Of several of one name the first counts, and an absent one is empty. */
  value(name: string): Parameter {
    return this.#values.get(name) ?? ABSENT;
  }

  /** Pairs that cannot be decoded are passed over, as are those with a semicolon. `text` has a byte in each letter. */
  addEncoded(text: string): void {
    for (const pair of text.split('&')) {
      if (pair === '' || pair.includes(';')) continue;
      const at = pair.indexOf('=');
      const key = percentDecoded(at < 0 ? pair : pair.slice(0, at));
      const value = percentDecoded(at < 0 ? '' : pair.slice(at + 1));
      if (key !== null && value !== null) this.#add(decode(key).text, decode(value));
    }
  }

  /** A body that is cut off or has no boundary holds nothing. */
  async addMultipart(contentType: string, body: Buffer): Promise<void> {
    try {
      const data = await new Response(new Uint8Array(body), { headers: { 'content-type': contentType } }).formData();
      for (const [key, value] of data) if (typeof value === 'string') this.#add(key, { text: value, isText: true });
    } catch {
      // As there.
    }
  }

  #add(key: string, value: Parameter): void {
    if (!this.#values.has(key)) this.#values.set(key, value);
  }
}

/** The bytes; null where a percent sign is not followed by two digits. */
function percentDecoded(text: string): Buffer | null {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return null;
  const spaced = text.replaceAll('+', ' ');
  return Buffer.from(
    spaced.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16))),
    'latin1',
  );
}

function decode(bytes: Buffer): Parameter {
  try {
    return { text: strict.decode(bytes), isText: true };
  } catch {
    return { text: bytes.toString(), isText: false };
  }
}
