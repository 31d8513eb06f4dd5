// A backend as people write them: answers, logs, leaks when it is asked to, and says goodbye.
const http = require('http');
const kept = [];
const lines = (stream, name, count) => {
  for (let n = 1; n <= count; n++) stream.write(`${name} ${n}\n`);
};
const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const number = (name) => Number(url.searchParams.get(name));
  if (url.pathname === '/out') lines(process.stdout, 'out', number('lines'));
  if (url.pathname === '/err') lines(process.stderr, 'err', number('lines'));
  if (url.pathname === '/leak') for (let mb = 0; mb < number('mb'); mb++) kept.push(Buffer.alloc(1 << 20, 1));
  response.end('ok\n');
});
process.on('SIGTERM', () => {
  console.log('got SIGTERM');
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
server.listen(process.env.PORT, () => console.log('listens on', process.env.PORT));
