// A stand-in for AWS: a security token service and S3 that obey the policies of deploy/iam, in front of a real S3 server.
//
// Requests that IAM allows go on to the server of the AWS_ variables, signed anew; others get S3's answer to them. A
// session is known by its token alone: that clients sign well is not what is tried here.

import crypto from 'node:crypto'
import http from 'node:http'
import { BUCKET, mayAssume, mayTouch, ROLES, roleArn } from './iam.mjs'

const PASSED_ON = [
  'content-length',
  'if-match',
  'if-none-match',
  'range',
  'x-amz-checksum-crc32',
  'x-amz-checksum-mode',
  'x-amz-checksum-sha256',
]

// Headers that are condition keys of a PUT under their own names.
const CONDITIONS = [
  'x-amz-server-side-encryption-customer-algorithm',
  'x-amz-server-side-encryption-aws-kms-key-id',
  'x-amz-storage-class',
]

/** Starts it; `secure: false` makes it a server that was reached without TLS. */
export async function start({ secure = true } = {}) {
  const aws = new Aws(secure)
  const server = http.createServer((request, response) =>
    aws.serve(request, response).catch((error) => {
      response.writeHead(500).end(String(error.stack))
    }),
  )
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${server.address().port}`
  return { url, sts: `${url}/_sts/`, aws, stop: () => (server.closeAllConnections(), server.close()) }
}

class Aws {
  constructor(secure) {
    this.secure = secure
    this.sessions = new Map() // role by session token
    this.log = [] // what was asked, and the answer's status
  }

  async serve(request, response) {
    if (request.url.startsWith('/_sts/')) return this.assume(request, response)
    const role = this.sessions.get(request.headers['x-amz-security-token'])
    const { action, key, context } = describe(request)
    const answer = (status, code) => this.refuse(request, response, { role, action, key }, status, code)
    if (!role) return answer(403, 'InvalidToken')
    if (!action) return answer(501, 'NotImplemented')
    context['aws:SecureTransport'] = String(this.secure)
    if (!(await mayTouch(role, action, action === 's3:ListBucket' ? '' : key, context)))
      return answer(403, 'AccessDenied')

    const upstream = await this.ask(request)
    // Whoever may not list a bucket is not told that an object is missing; the key counts as the prefix of the list.
    if (upstream.statusCode === 404 && action !== 's3:ListBucket') {
      const asked = { 'aws:SecureTransport': String(this.secure), 's3:prefix': key }
      if (!(await mayTouch(role, 's3:ListBucket', '', asked))) {
        upstream.resume()
        return answer(403, 'AccessDenied')
      }
    }
    this.log.push({ role, action, key, status: upstream.statusCode })
    response.writeHead(upstream.statusCode, upstream.headers)
    upstream.pipe(response)
  }

  refuse(request, response, what, status, code) {
    this.log.push({ ...what, status })
    request.resume()
    const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>Refused.</Message></Error>`
    response.writeHead(status, { 'Content-Type': 'application/xml' }).end(request.method === 'HEAD' ? undefined : body)
  }

  ask(request) {
    const headers = Object.fromEntries(
      PASSED_ON.filter((name) => request.headers[name]).map((name) => [name, request.headers[name]]),
    )
    const url = new URL(process.env.AWS_ENDPOINT_URL)
    const signed = sign(request, url.host, headers)
    return new Promise((resolve, reject) => {
      const onward = http.request(url, { method: request.method, path: request.url, headers: signed }, resolve)
      onward.on('error', reject)
      request.pipe(onward)
    })
  }

  async assume(request, response) {
    let text = ''
    for await (const piece of request) text += piece
    const form = new URLSearchParams(text)
    const role = ROLES.find((name) => roleArn(name) === form.get('RoleArn'))
    const claims = JSON.parse(Buffer.from(form.get('WebIdentityToken').split('.')[1], 'base64url'))
    if (!role || !(await mayAssume(role, claims))) {
      const message = 'Not authorized to perform sts:AssumeRoleWithWebIdentity'
      response.writeHead(403, { 'Content-Type': 'text/xml' })
      return response.end(
        `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>${message}</Message></Error></ErrorResponse>`,
      )
    }
    const token = this.session(role)
    const expiration = new Date(Date.now() + 3600e3).toISOString()
    response.writeHead(200, { 'Content-Type': 'text/xml' })
    response.end(
      `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
       <Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>secret-of-${role}</SecretAccessKey>
       <SessionToken>${token}</SessionToken><Expiration>${expiration}</Expiration></Credentials>
       </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
    )
  }

  /** Makes a session of the role, as STS would after it has looked at a token. */
  session(role) {
    const token = crypto.randomUUID()
    this.sessions.set(token, role)
    return token
  }
}

/** The action, the key and the context that S3 gives IAM for a request. */
function describe(request) {
  const { pathname, searchParams } = new URL(request.url, 'http://s3')
  const key = decodeURIComponent(pathname.slice(`/${BUCKET}/`.length))
  const context = {}
  if (!key) {
    if (searchParams.has('prefix')) context['s3:prefix'] = searchParams.get('prefix')
    return { action: request.method === 'GET' ? 's3:ListBucket' : undefined, key, context }
  }
  if (request.method === 'PUT') {
    for (const name of ['if-match', 'if-none-match']) {
      if (request.headers[name]) context[`s3:${name}`] = request.headers[name]
    }
    for (const name of CONDITIONS) {
      if (request.headers[name]) context[`s3:${name}`] = request.headers[name]
    }
  }
  const actions = { GET: 's3:GetObject', HEAD: 's3:GetObject', PUT: 's3:PutObject', DELETE: 's3:DeleteObject' }
  return { action: actions[request.method], key, context }
}

/** Returns the headers with a signature. Source: "Create a signed AWS API request" of the IAM User Guide. */
function sign(request, host, more) {
  const hmac = (key, text) => crypto.createHmac('sha256', key).update(text).digest()
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
  const scope = `${time.slice(0, 8)}/${process.env.AWS_REGION}/s3/aws4_request`
  const digest = request.headers['x-amz-content-sha256'] ?? 'UNSIGNED-PAYLOAD'
  const headers = { ...more, host, 'x-amz-content-sha256': digest, 'x-amz-date': time }
  const names = Object.keys(headers).sort()
  const lines = names.map((name) => `${name}:${headers[name]}\n`).join('')
  const [path, query = ''] = request.url.split('?')
  const canonical = [request.method, path, query.split('&').sort().join('&'), lines, names.join(';'), digest].join('\n')
  const signed = ['AWS4-HMAC-SHA256', time, scope, crypto.createHash('sha256').update(canonical).digest('hex')].join(
    '\n',
  )
  const key = scope.split('/').reduce(hmac, `AWS4${process.env.AWS_SECRET_ACCESS_KEY}`)
  const parts = [
    `Credential=${process.env.AWS_ACCESS_KEY_ID}/${scope}`,
    `SignedHeaders=${names.join(';')}`,
    `Signature=${hmac(key, signed).toString('hex')}`,
  ]
  return { ...headers, authorization: `AWS4-HMAC-SHA256 ${parts.join(', ')}` }
}
