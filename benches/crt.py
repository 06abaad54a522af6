"""Copies one file to or from S3 by the AWS Common Runtime, as boto3 uses it: crt.py FROM TO.

boto3 itself cannot tell the runtime to speak plain http, or which authority to trust.
"""

import os
import sys
from pathlib import Path

import botocore.session
from s3transfer import crt

url = os.environ["AWS_ENDPOINT_URL"]
session = botocore.session.get_session()
region = os.environ["AWS_REGION"]
client = crt.create_s3_crt_client(
    region,
    crt.BotocoreCRTCredentialsWrapper(session.get_credentials()).to_crt_credentials_provider(),
    use_ssl=url.startswith("https:"),
    verify=os.environ.get("SSL_CERT_FILE"),
)
serializer = crt.BotocoreCRTRequestSerializer(session, {"region_name": region, "endpoint_url": url})
source, target = sys.argv[1:]
with crt.CRTTransferManager(client, serializer) as manager:
    if target.startswith("s3://"):
        bucket, _, key = target.removeprefix("s3://").partition("/")
        manager.upload(source, bucket, key).result()
    else:
        bucket, _, key = source.removeprefix("s3://").partition("/")
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        manager.download(bucket, key, target).result()
