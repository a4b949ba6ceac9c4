import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

export default defineConfig(({ mode }) => ({
  // Relative addresses, because the same files are served by the app (custom protocol) and by `pilothouse serve`.
  base: './',
  plugins: [svelte()],
  // The fake backend exists for development and tests only; a production build drops its code with the branch.
  define: { __FAKE__: JSON.stringify(mode !== 'production') },
  // Under Vitest the browser build of Svelte is wanted, not the one that renders on a server.
  resolve: mode === 'test' ? { conditions: ['browser'] } : {},
  build: {
    // WebKitGTK of the oldest supported desktops.
    target: 'es2021',
    sourcemap: false,
    // One small file each for script and style: no second round trip before the first paint.
    rollupOptions: { output: { codeSplitting: false } },
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
