// Time as an argument: whoever needs the time is handed a clock.

/** Integer Unix milliseconds. */
export type Clock = () => number;
