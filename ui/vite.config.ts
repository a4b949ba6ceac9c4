import { svelte } from '@sveltejs/vite-plugin-svelte';
import type { Plugin } from 'vite';
import { defineConfig } from 'vitest/config';

/** The first page is fetched beside what asks the first question, not after it. */
function preloadStart(): Plugin {
  return {
    name: 'preload-start',
    apply: 'build',
    transformIndexHtml: {
      order: 'post',
      handler: (_, { bundle }) =>
        Object.keys(bundle ?? {})
          .filter((file) => /^assets\/start-[\w-]+\.js$/.test(file))
          .map((file) => ({
            tag: 'link',
            attrs: { rel: 'modulepreload', crossorigin: true, href: `./${file}` },
            injectTo: 'head' as const,
          })),
    },
  };
}

export default defineConfig(({ mode }) => ({
  // Relative addresses, because the same files are served by the app (custom protocol) and by `pilothouse serve`.
  base: './',
  plugins: [svelte(), preloadStart()],
  // The fake backend exists for development and tests only; a production build drops its code with the branch.
  define: { __FAKE__: JSON.stringify(mode !== 'production') },
  // Under Vitest the browser build of Svelte is wanted, not the one that renders on a server.
  resolve: mode === 'test' ? { conditions: ['browser'] } : {},
  build: {
    // WebKitGTK of the oldest desktops that have its API 4.1 knows private fields. Rewritten for older ones, each look at such a field
    // would be a call.
    target: 'es2022',
    sourcemap: false,
    // One file for style. Script is three: what asks the first question, the first page, and all others.
    cssCodeSplit: false,
    modulePreload: false,
  },
  server: { host: '127.0.0.1' },
  test: {
    // Beside busy neighbours a page of sixty models takes its time; nothing is asserted on how long.
    testTimeout: 30_000,
    environment: 'happy-dom',
    setupFiles: ['tests/setup.ts'],
    include: ['tests/**/*.test.ts'],
    restoreMocks: true,
  },
}));
