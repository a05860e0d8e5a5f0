import testing from './testing.js';

export const { RecordingSaytics } = testing;
