// tus-js-client on one file: node client.js FILE OPTIONS, where OPTIONS is JSON for tus.Upload. Prints the address.
import { createReadStream } from 'node:fs'
import { PassThrough } from 'node:stream'
import * as tus from 'tus-js-client'

const [file, json] = process.argv.slice(2)
const options = JSON.parse(json)

// A deferred length is for streams; of a file the client knows the length, and waits for ever when told not to.
const source = createReadStream(file)
const upload = new tus.Upload(options.uploadLengthDeferred ? source.pipe(new PassThrough()) : source, {
  retryDelays: [0, 200, 500, 1000],
  metadata: { filename: 'cloud.laz' },
  ...options,
  onError(error) {
    console.error(String(error))
    process.exit(1)
  },
  onSuccess() {
    console.log(upload.url)
  },
})
upload.start()
