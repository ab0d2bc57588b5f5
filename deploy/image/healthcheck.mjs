/**
 * The health check of the image, for which it has no shell: exits with 0 when the admin listener says 200.
 *
 *   node healthcheck.mjs [/healthz | /readyz]
 *
 * It asks the admin listener of this container at the port of CAMBIST_ADMIN_LISTEN (8081 without it), over plain HTTP.
 */
const [path = '/healthz'] = process.argv.slice(2);
const port = /:(\d+)$/.exec(process.env['CAMBIST_ADMIN_LISTEN'] ?? '')?.[1] ?? '8081';
try {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(2000) });
  console.log(`${path}: ${answer.status} ${(await answer.text()).slice(0, 500)}`);
  process.exitCode = answer.status === 200 ? 0 : 1;
} catch (error) {
  console.log(`${path}: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
