// The suite cannot send a token. This adds one to every HTTP request that leaves the process, whichever way it is made.
const { Socket } = require('node:net');
const write = Socket.prototype.write;
const line = /^(?:GET|POST|DELETE|OPTIONS) \/\S* HTTP\/1\.1\r\n/;
const withToken = (text) =>
  line.test(text) && !/\r\nauthorization:/i.test(text.split('\r\n\r\n')[0])
    ? text.replace('\r\n', `\r\nauthorization: Bearer ${process.env.SANDLOT_TOKEN}\r\n`)
    : text;
Socket.prototype.write = function (data, ...rest) {
  if (typeof data === 'string') data = withToken(data);
  else if (Buffer.isBuffer(data) && line.test(data.subarray(0, 512).toString('latin1')))
    data = Buffer.from(withToken(data.toString('latin1')), 'latin1');
  return write.call(this, data, ...rest);
};
