/**
 * In a session without a language (LANG=C) WebKitGTK calls its language "C", which is no language tag, and uPlot asks
 * Intl for exactly that while it is being loaded. Imported before everything else.
 */
try {
  new Intl.NumberFormat(navigator.language);
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en-GB', configurable: true });
}

export {};
