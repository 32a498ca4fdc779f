"""The embedded Kubernetes API server: enough of Kubernetes for its clients, in one small process.

Here: storage, the API's verbs and their bookkeeping, built-in kinds and CustomResourceDefinitions,
discovery, tables, patches, watches, certificates and tokens. Not here: anything of Calico (its kinds are
CRDs that a client applies), scheduling and running pods. Nothing imports this room but the command line;
it imports `pycalico.base` at most. Other programs reach it over HTTP with the kubeconfig it writes, as they
would reach any cluster.

**No authorization.** A client needs a token, or a certificate of this server's authority (401 otherwise),
and may then do everything; RBAC objects are stored and not looked at. Token reviews tell the truth, access
reviews always allow. There are no admission webhooks, API services, quotas or CEL rules, and server-side
apply merges without field ownership. Aggregated logs, exec and port-forward need a kubelet and answer 404.

**Durability**: see `pycalico.apiserver.store`: what was answered survives kill -9; after a power cut the
database is consistent and may lack the last seconds.

**Why not a ready-made base.** kmock is the closest well-kept package. By its own documentation it is "a
database-over-http" that stores objects as they are: no resourceVersion conflicts, no merging of lists, no
schemas, status sub-resources, tables or durability, in memory and on aiohttp, for one test process.
mockernetes patches a client library instead of serving HTTP. fabric8's mock server and kwok bring a JVM
or the real kube-apiserver and etcd. What remains to be written is nearly all there is, so nothing of them
is used. The client side of tests is kubectl and lightkube.

**Why its own HTTP layer** (`pycalico.apiserver.connection`). Measured on 2 shared cores with Python 3.11,
TLS, one keep-alive client: an empty uvicorn application with h11 answers 4,800 GETs a second; this server,
with authentication, routing and storage, 8,900 GETs and 4,600 durable creates. uvicorn alone
takes 150 ms to import, starlette as much; this server serves 240 ms after exec. Neither has a deadline for request heads or
tells an application the client's certificate, and with a task and queue for each of hundreds of watches
the fan-out costs a scheduling round each; here an event is encoded once and written to every transport:
0.2 ms from a POST to its event at one watcher, 5 ms to the last of 300 over TLS.
"""
