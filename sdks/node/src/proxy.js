'use strict';

/**
 * Which proxy, if any, stands between this process and the server: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY
 * and NO_PROXY as curl reads them, and how a connection goes through it.
 */

const http = require('node:http');
const https = require('node:https');
const tls = require('node:tls');

/**
 * Return the proxy for `target` as a URL, or undefined; throws a TypeError for one that is none.
 * @param {URL} target
 * @param {Record<string, string | undefined>} environment
 */
function proxyFor(target, environment) {
  if (isExempt(target, variable(environment, 'no_proxy') ?? '')) return undefined;
  const name = `${target.protocol.slice(0, -1)}_proxy`;
  const text = variable(environment, name);
  // ALL_PROXY often names a SOCKS proxy that is meant for other programs.
  if (!text) return proxyUrl(variable(environment, 'all_proxy') ?? '');
  const proxy = proxyUrl(text);
  if (proxy === undefined) throw new TypeError(`The environment's ${name} is no http or https URL.`);
  return proxy;
}

function proxyUrl(text) {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const url = text && URL.canParse(full) ? new URL(full) : undefined;
  return ['http:', 'https:'].includes(url?.protocol) ? url : undefined;
}

function variable(environment, name) {
  // A CGI program's HTTP_PROXY is what the visitor sent as a header `Proxy`.
  const isHeader = name === 'http_proxy' && environment.REQUEST_METHOD !== undefined;
  return environment[name] ?? (isHeader ? undefined : environment[name.toUpperCase()]);
}

function isExempt({ hostname, port, protocol }, list) {
  const name = hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const number = port || (protocol === 'https:' ? '443' : '80');
  return list.toLowerCase().split(/[\s,]+/).filter(Boolean).some((item) => {
    if (item === '*') return true;
    const [, host, itsPort] = /^\[?(.*?)\]?(?::(\d+))?$/.exec(bracketed(item));
    if (itsPort !== undefined && itsPort !== number) return false;
    const suffix = host.replace(/^\*?\./, '');
    return name === suffix || name.endsWith(`.${suffix}`);
  });
}

// An IPv6 address without brackets has colons that start no port.
function bracketed(item) {
  return !item.startsWith('[') && item.split(':').length > 2 ? `[${item}]` : item;
}

/** Return the header that proves to the proxy who asks, if its URL names anybody. */
function proxyHeaders({ username, password }) {
  if (!username) return {};
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(pair).toString('base64')}` };
}

/** Return an https.Agent whose connections go through a tunnel the proxy makes. */
function tunnelAgent(proxy, options) {
  const agent = new https.Agent(options);
  agent.createConnection = (to, onConnected) => {
    const { request } = proxy.protocol === 'https:' ? https : http;
    const host = `${to.host.includes(':') ? `[${to.host}]` : to.host}:${to.port}`;
    const headers = { host, ...proxyHeaders(proxy) };
    const asked = request(proxy, { method: 'CONNECT', path: host, headers, agent: false });
    asked.once('error', onConnected);
    asked.once('connect', (answer, socket) => {
      if (answer.statusCode === 200) {
        onConnected(null, tls.connect({ ...to, socket, servername: to.servername ?? to.host }));
        return;
      }
      socket.destroy();
      onConnected(new Error(`the proxy answered ${answer.statusCode}`));
    });
    asked.end();
  };
  return agent;
}

module.exports = { proxyFor, proxyHeaders, tunnelAgent };
