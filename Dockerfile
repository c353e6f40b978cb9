# syntax=docker/dockerfile:1
# Photoproc with its libraries and the weights of its default model: it runs without a network.
# tests/test_container.py carries these steps out in a folder and uses what comes of them.

FROM python:3.13-slim-trixie AS libraries
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /app
COPY constraints.txt requirements*.txt ./
# A file of requirements besides: requirements-cluster.txt for a Dask cluster, requirements-forms.txt, or -ncnn.txt.
ARG EXTRA_REQUIREMENTS=""
RUN pip install -r requirements.txt ${EXTRA_REQUIREMENTS:+-r "$EXTRA_REQUIREMENTS"}

# A stage of its own: other sources make no other weights, so their layer stays as it is.
FROM libraries AS weights
ENV PHOTOPROC_MODEL_DIR=/models
COPY photoproc photoproc
ARG MODELS="u2net"
# hadolint ignore=SC2086 # each name is a word
RUN python -m photoproc.fetch $MODELS

FROM libraries
ENV PYTHONPATH=/app PHOTOPROC_DATA_DIR=/data PHOTOPROC_MODEL_DIR=/models
# All addresses, of the container: the server refuses that unless people sign in, there are keys, or
# PHOTOPROC_ALLOW_ANONYMOUS=1 says that its port is published to nobody else.
# (With an address for the browser, Streamlit does not ask another host for its own when it starts.)
ENV STREAMLIT_SERVER_ADDRESS=0.0.0.0 STREAMLIT_SERVER_PORT=8501 STREAMLIT_BROWSER_SERVER_ADDRESS=localhost
RUN useradd --uid 10001 --create-home photoproc && mkdir /data && chown photoproc:photoproc /data
COPY --from=weights --chown=photoproc:photoproc /models /models
COPY .streamlit .streamlit
COPY app.py ./
COPY pages pages
COPY photoproc photoproc
# The sources belong to root, so Python could not keep what it compiles of them. There are no numba kernels
# to compile: alpha matting does without (photoproc/imaging/closed_form.py).
RUN python -m compileall -q --invalidation-mode unchecked-hash app.py pages photoproc
USER 10001
VOLUME /data
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=6s --start-period=60s --start-interval=2s CMD [ \
    "python", "-c", \
    "import http.client, os; to = http.client.HTTPConnection('127.0.0.1', int(os.environ['STREAMLIT_SERVER_PORT']), timeout=5); to.request('GET', '/api/v1/health'); raise SystemExit(to.getresponse().status != 200)" \
]
CMD ["streamlit", "run", "app.py"]
