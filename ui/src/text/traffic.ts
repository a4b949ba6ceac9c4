/** Words of the page Traffic; those of states, dialects and reasons are the command line's. */
import type { Dialect } from '../api/Dialect';
import type { RequestState } from '../api/RequestState';
import type { Why } from '../api/Why';
import type { Tone } from '../api/Tone';
import type { Span } from '../series';
import type { PartKey, Show } from '../traffic';

export const requestStates: Record<RequestState, { word: string; tone: Tone }> = {
  waiting: { word: 'waiting', tone: 'waiting' },
  loading: { word: 'loading', tone: 'busy' },
  answering: { word: 'answering', tone: 'busy' },
  done: { word: 'done', tone: 'good' },
  failed: { word: 'failed', tone: 'attention' },
  cancelled: { word: 'client left', tone: 'idle' },
  cut: { word: 'cut', tone: 'attention' },
};

export const dialects: Record<Dialect, { word: string; api: string }> = {
  chat: { word: 'chat', api: 'OpenAI chat' },
  completions: { word: 'completions', api: 'OpenAI completions' },
  embeddings: { word: 'embeddings', api: 'OpenAI embeddings' },
  responses: { word: 'responses', api: 'OpenAI responses' },
  messages: { word: 'messages', api: 'Anthropic messages' },
  ollama: { word: 'ollama', api: 'Ollama' },
  other: { word: 'other', api: 'passed on as it came' },
};

/** Why this model, after the name that was asked for. */
export const whys: Record<Why, string> = {
  role: 'is a role',
  alias: 'is an alias of the settings',
  rule: 'is led here by a rule for names',
  own_name: 'is the model’s own name',
};

export const timeParts: Record<PartKey, { word: string; meaning: string }> = {
  queue: { word: 'Queue', meaning: 'The wait for its turn or for a switch' },
  load: { word: 'Load', meaning: 'The wait for its model to be loaded' },
  prefill: { word: 'Prefill', meaning: 'From the end of the waits to the first token' },
  decode: { word: 'Decode', meaning: 'From the first token to the end' },
  whole: { word: 'To the end', meaning: 'From the end of the waits to the end; no first token was seen' },
};

const shows: Record<Show, string> = {
  all: 'All',
  under_way: 'In flight',
  done: 'Done',
  slow: 'Slow',
  failed: 'Failed',
  cancelled: 'Client left',
};

const spanWords: Record<Span, { button: string; during: string }> = {
  '15m': { button: '15 min', during: 'in the last 15 minutes' },
  '1h': { button: '1 h', during: 'in the last hour' },
  '24h': { button: '24 h', during: 'in the last day' },
  '30d': { button: '30 d', during: 'in the last 30 days' },
};

export const traffic = {
  title: 'Traffic',
  loading: 'Reading traffic',
  sums: (n: string, one: boolean, during: string) => `${n} ${one ? 'request' : 'requests'} ${during}`,
  textsNotKept: 'texts are not kept',
  pause: 'Pause',
  goOn: 'Go on',
  now: 'now, all models',
  nowMeaning: 'Output tokens of the last second, of all models',
  notMeasured: 'Nothing has been measured yet',
  inFlight: (n: number) => `${n} in flight`,
  noneInFlight: 'none waits',
  waiting: (n: number) => `${n} waiting`,
  loadingModel: (n: number) => `${n} loading`,
  switchUnderWay: (model: string) => `a switch to ${model} is under way`,
  firstToken: 'first token',
  /** Beside the median. */
  p95: (time: string) => `first token, 95 %: ${time}`,
  spreadMeaning: (during: string) => `Median and the time that 95 of 100 do not exceed, ${during}, each within 2.2 %`,
  rates: 'Output tokens per second of all models, the last quarter of an hour',
  filter: 'Filter requests',
  filterMeaning: 'Text in the name of program, key, model or what was asked for',
  show: 'Requests to show',
  shows,
  slowMeaning: (time: string) => `Whose first token took ${time} or more`,
  allClients: 'All programs',
  client: 'Program',
  allModels: 'All models',
  model: 'Model',
  table: 'Requests, newest first',
  still: 'newest first, held still while you point at it',
  newerWait: (n: number) => (n === 1 ? '1 newer waits' : `${n} newer wait`),
  paused: (n: number) => (n === 0 ? 'paused' : n === 1 ? 'paused, 1 newer waits' : `paused, ${n} newer wait`),
  older: 'Older',
  newest: 'Newest',
  beyond: 'Older requests than the newest',
  columns: {
    time: 'Time',
    client: 'Program',
    dialect: 'Dialect',
    asked: 'Asked, answered by',
    queue: 'Queue',
    first: 'First token',
    rate: 'tok/s',
    in: 'In',
    cached: 'Cached',
    out: 'Out',
    state: 'State',
  },
  unknownClient: 'unknown',
  unknownMeaning: 'It showed no key, and the system does not tell which program it is',
  key: (name: string) => `key ${name}`,
  process: (pid: number) => `process ${pid}`,
  noName: 'no name',
  notYet: 'no model yet',
  noModel: 'reached no model',
  waits: 'It waits for its turn or for a switch.',
  waitsShort: 'its turn, or a switch',
  after: (time: string) => `after ${time}`,
  outOf: (out: string, most: string) => `${out} of at most ${most} tokens`,
  estimated: 'estimated',
  estimatedMeaning: 'Estimated from the events of the answer: the server did not count them',
  none: 'No program has asked yet.',
  noneHint: 'Point a program at this address, as one of OpenAI’s API, or let Connect set it up:',
  connect: 'Connect a program',
  noneMatch: 'No request matches this filter.',
  clear: 'Show all',
  nothingOlder: 'There are no older ones.',
  leftOut: (n: number) => `${n} more are under way and not listed.`,
  lost: (n: number) =>
    n === 1
      ? '1 record could not be kept since Pilothouse started: more came than could be written. It is in no list and no sum.'
      : `${n} records could not be kept since Pilothouse started: more came than could be written. They are in no list and no sum.`,
  quietNow: 'No request right now.',
};

export const totals = {
  title: 'Totals',
  loading: 'Adding up',
  span: 'How far back the sums reach',
  spans: spanWords,
  columns: {
    requests: 'Requests',
    failed: 'Failed',
    cancelled: 'Client left',
    in: 'In',
    cached: 'Cached',
    out: 'Out',
    rate: 'tok/s',
    first: 'First token',
    p95: '95 %',
  },
  all: 'All',
  others: 'others',
  othersMeaning: 'Programs beyond the number of names that are counted one by one',
  none: (during: string) => `No request has ended ${during}.`,
  estimated: (n: number, all: number) =>
    n === all ? 'All token counts are estimates' : `The tokens of ${n} of ${all} requests are estimates`,
  only: (client: string) => `Only requests of ${client}`,
  onlyModel: (model: string) => `Only requests that ${model} answered`,
};

export const request = {
  details: (client: string, at: string) => `Request of ${client} at ${at}`,
  close: 'Close the details',
  gone: 'This request was never kept, or is not any more.',
  stateAfter: (word: string, time: string) => `${word} after ${time}`,
  stateFor: (word: string, time: string) => `${word} for ${time}`,
  where: 'Where the time went',
  soFar: (time: string) => `${time} so far`,
  none: 'none',
  firstToken: (time: string) => `first token ${time}`,
  promptOf: (tokens: string, cached: string | null) =>
    cached === null ? `${tokens} tokens in` : `${tokens} tokens in, ${cached} cached`,
  answerOf: (tokens: string, rate: string | null) =>
    rate === null ? `${tokens} tokens out` : `${tokens} tokens out at ${rate}`,
  why: (model: string) => `Why ${model}`,
  whyNone: 'Why no model',
  ofRole: (role: string) => `, here for the role ${role}`,
  askedFor: 'Asked for',
  answeredBy: 'Answered by',
  role: 'Role',
  askedNothing: 'It named no model, so the active one answered.',
  noReason: 'It never came to a model.',
  stillLooking: 'Not said before it is its turn.',
  request: 'Request',
  from: 'Key',
  program: 'Program',
  at: 'At',
  dialect: 'Dialect',
  streamed: 'streamed',
  inOnePiece: 'in one piece',
  ended: 'Ended by',
  endedOf: (word: string, out: string, most: string) => `${word}, ${out} of ${most}`,
  mostOutput: 'Most tokens out',
  status: 'HTTP status',
  error: 'Error',
  governed: 'Left out',
  governedMeaning: 'Not for clients to say: the scene decides',
  changed: 'Changed',
  number: 'Number',
  numberMeaning: 'In its answer’s header x-pilothouse-record',
  notKept: 'Texts are not kept.',
  kept: 'Of each request only counts, times and names are stored.',
  howLong: 'How long',
};
