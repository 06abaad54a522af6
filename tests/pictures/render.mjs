// Renders Markdown as GitHub shows it, in a headless Chromium.
//
//   render.mjs PACKAGES summaries FROM TO   every FROM/*.md becomes TO/*.png, and every FROM/*.png is copied
//   render.mjs PACKAGES diagrams FILE…      every Mermaid block of these files must draw
//
// PACKAGES is the directory that package.json was installed into. A summary is one line `<!-- title -->` and Markdown.
import { copyFileSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [packages, mode, ...rest] = process.argv.slice(2)
const resolve = createRequire(join(packages, 'package.json')).resolve
const load = async (name) => import(pathToFileURL(resolve(name)))
const { default: puppeteer } = await load('puppeteer-core')

// Every picture is committed: none may be larger than this.
const MOST_BYTES = 150_000
// The card of a job's summary on a window of usual width.
const WIDTH = 980
const FRAME = `
  body { margin: 0; padding: 16px; background: #fff; width: ${WIDTH}px; box-sizing: border-box; }
  .card { border: 1px solid #d1d9e0; border-radius: 6px; }
  .card > header { padding: 12px 16px; border-bottom: 1px solid #d1d9e0; background: #f6f8fa;
    font: 600 14px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; color: #1f2328; }
  .card > article { padding: 16px; }
`

const profile = mkdtempSync(join(tmpdir(), 'ml-cache-chromium-'))
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  userDataDir: profile,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--force-color-profile=srgb',
  ],
})
try {
  const page = await browser.newPage()
  await (mode === 'summaries' ? summaries(page, ...rest) : diagrams(page, rest))
} finally {
  await browser.close()
  rmSync(profile, { recursive: true, force: true })
}

async function summaries(page, from, to) {
  const { micromark } = await load('micromark')
  const { gfm, gfmHtml } = await load('micromark-extension-gfm')
  const style = readFileSync(resolve('github-markdown-css/github-markdown-light.css'), 'utf8')
  for (const name of readdirSync(from).filter((name) => name.endsWith('.md')).sort()) {
    const [first, ...lines] = readFileSync(join(from, name), 'utf8').split('\n')
    const title = /^<!-- (.+) -->$/.exec(first)[1]
    const options = { extensions: [gfm()], htmlExtensions: [gfmHtml()], allowDangerousHtml: true }
    const body = micromark(lines.join('\n'), options)
    await page.setViewport({ width: WIDTH, height: 100 })
    await page.setContent(`<!doctype html><style>${style}${FRAME}</style><div class="card">
      <header>${title} summary</header><article class="markdown-body">${body}</article></div>`)
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
    if (wide > 0) throw new Error(`${name}: ${wide} pixels do not fit`)
    const file = join(to, `${basename(name, '.md')}.png`)
    await page.screenshot({ path: file, fullPage: true, optimizeForSpeed: false })
    weigh(file)
  }
  for (const name of readdirSync(from).filter((name) => name.endsWith('.png')).sort()) {
    copyFileSync(join(from, name), join(to, name))
    weigh(join(to, name))
  }
}

function weigh(file) {
  const { size } = statSync(file)
  if (size > MOST_BYTES) throw new Error(`${file} has ${size} bytes`)
  console.log(`${file}: ${size} bytes`)
}

async function diagrams(page, files) {
  await page.goto('about:blank')
  await page.setViewport({ width: 1000, height: 100 })
  await page.addScriptTag({ path: join(packages, 'node_modules/mermaid/dist/mermaid.min.js') })
  let drawn = 0
  for (const file of files) {
    for (const [, source] of readFileSync(file, 'utf8').matchAll(/^```mermaid\n(.*?)^```$/gms)) {
      const box = await page.evaluate(async (source) => {
        mermaid.initialize({ startOnLoad: false })
        const { svg } = await mermaid.render('diagram', source)
        document.body.innerHTML = svg
        const { width, height } = document.querySelector('svg').getBoundingClientRect()
        return { width: Math.round(width), height: Math.round(height), nodes: document.querySelectorAll('.node').length }
      }, source)
      if (box.nodes < 2) throw new Error(`${file}: a diagram has ${box.nodes} nodes`)
      drawn += 1
      console.log(`${file}: a diagram of ${box.nodes} nodes, ${box.width} by ${box.height}`)
      if (process.env.DIAGRAM) await page.screenshot({ path: process.env.DIAGRAM, fullPage: true })
    }
  }
  if (drawn === 0) throw new Error('there is no diagram')
}
