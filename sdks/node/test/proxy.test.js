'use strict';

/** Through proxies and private certificates to the server. */

const assert = require('node:assert/strict');
const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { after, before, test } = require('node:test');

const { proxyFor } = require('../src/proxy.js');
const { ScriptedServer } = require('./scripted-server.js');

const KEY = 'sk_live_proxied';

let folder;
let server;
let secure;
let proxy;
let certificate;
const asked = [];

before(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'saytics-proxy-test-'));
  server = await ScriptedServer.start();
  proxy = await listening(http.createServer(forward).on('connect', tunnel));
  secure = await listening(https.createServer(selfSigned(), async (request, response) => {
    for await (const _ of request);
    response.end(JSON.stringify({ status: 'ok', received: 1 }));
  }));
});
after(async () => {
  await server.stop();
  for (const each of [proxy, secure]) {
    each.closeAllConnections();
    await new Promise((resolve) => each.close(resolve));
  }
  fs.rmSync(folder, { recursive: true });
});

function listening(made) {
  return new Promise((resolve) => made.listen(0, '127.0.0.1', () => resolve(made)));
}

function selfSigned() {
  const [keyFile, certificateFile] = ['key.pem', 'cert.pem'].map((name) => path.join(folder, name));
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
    '-keyout', keyFile, '-out', certificateFile, '-days', '2', '-subj', '/CN=saytics test',
    '-addext', 'subjectAltName=IP:127.0.0.1',
  ], { stdio: 'ignore' });
  certificate = certificateFile;
  return { key: fs.readFileSync(keyFile), cert: fs.readFileSync(certificateFile) };
}

function forward(request, response) {
  asked.push([request.method, request.url, request.headers['proxy-authorization']]);
  const { 'proxy-authorization': _, ...headers } = request.headers;
  const onward = http.request(request.url, { method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  request.pipe(onward);
}

function tunnel(request, socket) {
  asked.push([request.method, request.url, request.headers['proxy-authorization']]);
  const [host, port] = request.url.split(':');
  const onward = net.connect(port, host, () => {
    socket.write('HTTP/1.1 200 Yes\r\n\r\n');
    onward.pipe(socket).pipe(onward);
  });
  for (const each of [socket, onward]) each.on('error', () => {});
}

/** Send one event from a process with this environment; resolves to its counts and output. */
function send(environment, options = '') {
  const program = `
    const Saytics = require(${JSON.stringify(path.join(__dirname, '../src/index.js'))});
    const saytics = new Saytics('${KEY}', { spool: 'off', debug: true, maxRetries: 0, ${options} });
    saytics.track({ userId: 'u', event: 'E' });
    saytics.shutdown().then((counts) => console.log(counts.delivered));
  `;
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/proxy|NODE_EXTRA/i.test(name)),
  );
  const child = spawn(process.execPath, ['-e', program], { env: { ...env, ...environment } });
  const output = { out: '', errors: '' };
  child.stdout.on('data', (data) => { output.out += data; });
  child.stderr.on('data', (data) => { output.errors += data; });
  asked.length = 0;
  return new Promise((resolve) => child.on('close', () => resolve(output)));
}

function url(made, scheme = 'http', user = '') {
  return `${scheme}://${user}127.0.0.1:${made.address().port}`;
}

test('plain HTTP goes to the proxy with the whole URL and the proxy’s own credentials', async () => {
  const { out, errors } = await send({
    SAYTICS_HOST: server.host, HTTP_PROXY: url(proxy, 'http', 'ada:s%40cret@'),
  });
  const credentials = `Basic ${Buffer.from('ada:s@cret').toString('base64')}`;
  assert.equal(out, '1\n', errors);
  assert.deepEqual(asked, [['POST', `${server.host}/v1/events/batch`, credentials]]);
  assert.equal(server.requests.at(-1).headers.authorization, `Bearer ${KEY}`);
  assert.ok(![KEY, 's@cret', 's%40cret'].some((secret) => errors.includes(secret)), errors);
});

test('HTTPS goes through a tunnel, checked against NODE_EXTRA_CA_CERTS', async () => {
  const { out, errors } = await send({
    SAYTICS_HOST: url(secure, 'https'), HTTPS_PROXY: url(proxy), NODE_EXTRA_CA_CERTS: certificate,
  });
  assert.equal(out, '1\n', errors);
  assert.deepEqual(asked, [['CONNECT', `127.0.0.1:${secure.address().port}`, undefined]]);
});

test('the option ca is trusted, with and without a proxy; otherwise nothing is sent', async () => {
  const host = { SAYTICS_HOST: url(secure, 'https') };
  const ca = `ca: require('node:fs').readFileSync(${JSON.stringify(certificate)}, 'utf8')`;
  assert.equal((await send(host, ca)).out, '1\n');
  assert.equal((await send({ ...host, https_proxy: url(proxy) }, ca)).out, '1\n');
  assert.equal((await send({ ...host, https_proxy: url(proxy) })).out, '0\n');
  const { out, errors } = await send(host);
  assert.equal(out, '0\n');
  assert.match(errors, /self-signed certificate/);
  assert.ok(!errors.includes(KEY));
});

test('NO_PROXY goes straight to the server', async () => {
  const { out } = await send({
    SAYTICS_HOST: server.host, HTTP_PROXY: url(proxy), NO_PROXY: 'example.com, 127.0.0.1',
  });
  assert.deepEqual([out, asked], ['1\n', []]);
});

for (const [address, environment, expected] of [
  ['http://a.example', {}, undefined],
  ['http://a.example', { HTTP_PROXY: 'p:3128' }, 'http://p:3128/'],
  ['http://a.example', { http_proxy: 'http://l', HTTP_PROXY: 'http://u' }, 'http://l/'],
  ['http://a.example', { HTTP_PROXY: 'http://u', REQUEST_METHOD: 'GET' }, undefined],
  ['https://a.example', { HTTP_PROXY: 'http://p' }, undefined],
  ['https://a.example', { ALL_PROXY: 'http://p' }, 'http://p/'],
  ['https://a.example', { ALL_PROXY: 'socks5://p' }, undefined],
  ['https://a.example', { HTTPS_PROXY: 'http://p', NO_PROXY: '*' }, undefined],
  ['https://a.example', { HTTPS_PROXY: 'http://p', no_proxy: '.example' }, undefined],
  ['https://a.example', { HTTPS_PROXY: 'http://p', no_proxy: 'b.example,xa.example' }, 'http://p/'],
  ['https://a.example', { HTTPS_PROXY: 'http://p', no_proxy: 'a.example:8443' }, 'http://p/'],
  ['https://a.example:8443', { HTTPS_PROXY: 'http://p', no_proxy: 'a.example:8443' }, undefined],
  ['http://[::1]:8640', { HTTP_PROXY: 'http://p', no_proxy: '::1' }, undefined],
]) {
  test(`the proxy for ${address} with ${JSON.stringify(environment)} is ${expected}`, () => {
    assert.equal(proxyFor(new URL(address), environment)?.href, expected);
  });
}

test('a proxy that is none is refused when the client is made, without showing it', () => {
  assert.throws(
    () => proxyFor(new URL('http://a.example'), { HTTP_PROXY: 'socks5://ada:secret@p' }),
    (error) => error instanceof TypeError && !error.message.includes('secret'),
  );
});
