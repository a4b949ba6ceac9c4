// What the web UI costs: node tools/page-cost.mjs NAME=URL… measures each address (with its token) in turns, on a page that is
// looked at. Prints medians: time to the first paint and to the first real content, bytes by the second, processor of the page.
import { launch, openPage } from '../tests/browser/browser.mjs';

const ROUNDS = Number(process.env.PAGE_ROUNDS ?? 7);
const IDLE_S = Number(process.env.PAGE_IDLE_S ?? 30);
const IDLE_ROUNDS = Number(process.env.PAGE_IDLE_ROUNDS ?? 1);
/** Whatever a page shows only when it knows the engine's state. */
const CONTENT = '[data-testid="model-row"], [data-testid="first-start"], [data-testid="active-model"]';

const places = process.argv.slice(2).map((argument) => {
  const at = argument.indexOf('=');
  return { name: argument.slice(0, at), url: argument.slice(at + 1), paints: [], contents: [] };
});
const { browser, why } = await launch();
if (browser === null) {
  console.error(why);
  process.exit(1);
}

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** From the begin of the navigation to the first paint, and to the first content that only the engine can know. */
async function paint(url) {
  const page = await openPage(browser, 'about:blank');
  await page.context().addInitScript((content) => {
    const look = () => {
      if (globalThis.firstContent === undefined && document.querySelector(content)) {
        requestAnimationFrame(() => (globalThis.firstContent ??= performance.now()));
      }
    };
    new MutationObserver(look).observe(document, { childList: true, subtree: true });
  }, CONTENT);
  await page.goto(url);
  await page.waitForFunction(() => globalThis.firstContent !== undefined, undefined, { timeout: 20_000 });
  const times = await page.evaluate(() => ({
    paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime,
    content: globalThis.firstContent,
  }));
  await page.context().close();
  return times;
}

/** Bytes over the wire (heads included) and processor of the page's main thread, while nothing is done. */
async function idle(url) {
  const page = await openPage(browser, url);
  await page.waitForSelector(CONTENT);
  await page.waitForTimeout(5000);
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Network.enable');
  // The thread's own time: what neighbours of a busy machine take away is not the page's.
  await devtools.send('Performance.setTimeDomain', { timeDomain: 'threadTicks' });
  await devtools.send('Performance.enable');
  let bytes = 0;
  devtools.on('Network.loadingFinished', (event) => (bytes += event.encodedDataLength));
  const work = async () => {
    const { metrics } = await devtools.send('Performance.getMetrics');
    return metrics.find((metric) => metric.name === 'TaskDuration').value;
  };
  const before = await work();
  await page.waitForTimeout(IDLE_S * 1000);
  const busy = (await work()) - before;
  await page.context().close();
  return { bytes: bytes / IDLE_S, percent: (100 * busy) / IDLE_S };
}

for (let round = 0; round < ROUNDS; round++) {
  for (const place of places) {
    const times = await paint(place.url);
    place.paints.push(times.paint);
    place.contents.push(times.content);
  }
}
const idles = places.map(() => []);
for (let round = 0; round < IDLE_ROUNDS; round++)
  for (const [index, place] of places.entries()) idles[index].push(await idle(place.url));
for (const [index, place] of places.entries()) {
  const of = (what) => median(idles[index].map((one) => one[what]));
  place.idle = { bytes: of('bytes'), percent: of('percent') };
}
console.log('page'.padEnd(12), 'first paint', 'first content', '  idle B/s', 'idle processor');
for (const { name, paints, contents, idle: at } of places) {
  const ms = (values) => `${median(values).toFixed(0)} ms`;
  console.log(
    name.padEnd(12),
    ms(paints).padStart(11),
    ms(contents).padStart(13),
    at.bytes.toFixed(0).padStart(10),
    `${at.percent.toFixed(2)} %`.padStart(14),
  );
}
await browser.close();
